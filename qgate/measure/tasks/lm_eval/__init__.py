"""lm-evaluation-harness inside the gate: its tasks, asked of the child that holds the artifact."""
