"""What is looked at: gradients, Grad-CAM and its faithfulness, label maps, digits found on canvases."""
