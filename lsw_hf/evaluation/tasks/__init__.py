"""Long-context tasks beyond one needle, following RULER's definitions (2404.06654), with texts of our own."""

from .aggregation import CommonWordsTask, FrequentWordsTask
from .paraphrase import ParaphraseTask
from .passages import PassageQuestionTask
from .retrieval import NeedleRetrievalTask
from .sample import Draft, LongContextTask, TaskSample, UnitTask
from .suite import TaskSuite, default_tasks, evaluate_tasks
from .tables import TableTask
from .tracing import VariableTrackingTask

__all__ = [
    "CommonWordsTask",
    "Draft",
    "FrequentWordsTask",
    "LongContextTask",
    "NeedleRetrievalTask",
    "ParaphraseTask",
    "PassageQuestionTask",
    "TableTask",
    "TaskSample",
    "TaskSuite",
    "UnitTask",
    "VariableTrackingTask",
    "default_tasks",
    "evaluate_tasks",
]
