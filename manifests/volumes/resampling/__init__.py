"""Images and labels on another grid."""
