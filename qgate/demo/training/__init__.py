"""What only making the model needs: its architecture, training, measuring; not in the wheel."""
