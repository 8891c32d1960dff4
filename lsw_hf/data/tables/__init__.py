"""Synthetic lengthy tables (SynL): schemas, eight formats, questions with exact answers, rows of an exact length."""

from .config import TableConfig
from .generator import TableGenerator
from .rendering import FORMATS, render_table
from .schema import Column, TableSchema
from .table import Table

__all__ = ["FORMATS", "Column", "Table", "TableConfig", "TableGenerator", "TableSchema", "render_table"]
