"""Networks: nnU-Net's U-Net, sized by the patch and the spacing."""
