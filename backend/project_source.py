"""The samples of a project, read through Label Studio's API."""

from backend.label_config import parse_label_config
from backend.projects_api import ProjectsApi
from backend.task_samples import ANNOTATORS_RULES, AnnotatorsRule, TaskReader
from backend.training_samples import CollectedSamples, sorted_samples


def collect_project(
    api: ProjectsApi, project_id: int, rule: AnnotatorsRule = "latest"
) -> CollectedSamples:
    """Reads all annotations of a project, whatever events were missed.

    Args:
        api: of the Label Studio that has the project.
        project_id: its id.
        rule: whose annotation counts where a task has several.

    Raises:
        LabelStudioError: Label Studio is not reachable, or refuses.
        LabelConfigError: the project's labeling config has no image with a control for masks.
    """
    reader = TaskReader(parse_label_config(api.label_config(project_id)), rule)
    samples = [sample for task in api.annotated_tasks(project_id) for sample in reader.read(task)]
    return CollectedSamples(
        sorted_samples(samples),
        reader.tally.left_out(),
        reader.annotations,
        ANNOTATORS_RULES[rule],
    )
