"""One attempt: how twins are drawn, attempts added, claimed, run and finished."""
