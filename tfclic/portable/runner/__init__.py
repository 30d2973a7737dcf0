"""What trains a portable folder. It travels with the folder, without the rest of tfclic."""
