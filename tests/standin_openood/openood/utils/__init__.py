from .config import Config, setup_config
from .launch import launch

__all__ = ["Config", "launch", "setup_config"]
