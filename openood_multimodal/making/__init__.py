"""Files that are derived from clips: optical flow, audio, frames, contact sheets."""
