"""Analysis of networks: gradients, Grad-CAM and its faithfulness, label maps, digits found on canvases."""
