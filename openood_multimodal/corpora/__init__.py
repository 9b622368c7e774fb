"""The five datasets of MultiOOD on disk: layouts, surveys of their files, the authors' split lists."""
