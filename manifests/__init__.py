"""Ground floor: label spaces, merged classes, the manifest and the harmonised grid."""
