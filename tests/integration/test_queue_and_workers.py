"""The queue and its workers when things go wrong: killed workers, a redis that goes away."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backend.errors import QueueUnavailableError
from backend.queue import JobQueue
from backend.redis_server import embedded_redis
from backend.settings import Settings
from tests.integration.conftest import Hold, StartWorker, job

pytestmark = pytest.mark.timeout(90)


def runs(runs_file: Path) -> list[str]:
    return runs_file.read_text().splitlines()


def test_a_killed_workers_job_is_run_once_more_and_the_waiting_request_answered(
    queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
) -> None:
    held = job(hold.prompt)
    start_worker()
    queue.put([held], "interactive")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(queue.wait, [held.id], 60)
        first = hold.wait_until_begun()
        os.kill(first, signal.SIGKILL)
        killed_at = time.monotonic()
        start_worker()
        second = hold.wait_until_begun()
        recovery_seconds = time.monotonic() - killed_at
        hold.release()
        outcome = waiting.result()[held.id]
    assert outcome.status == "finished"
    assert second != first
    assert recovery_seconds < 12
    assert runs(runs_file) == [hold.prompt] * 2


def test_a_living_worker_takes_over_from_a_killed_one(
    queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
) -> None:
    held, waiting = job(hold.prompt), job("waiting")
    start_worker()
    start_worker()
    queue.put([held], "batch")
    os.kill(hold.wait_until_begun(), signal.SIGKILL)
    queue.put([waiting], "batch")
    hold.wait_until_begun()
    hold.release()
    outcomes = queue.wait([held.id, waiting.id], 30)
    assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert sorted(runs(runs_file)) == [hold.prompt, hold.prompt, "waiting"]


def test_a_job_that_kills_two_workers_fails_and_the_next_is_run(
    queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
) -> None:
    deadly, good = job(hold.prompt), job("good")
    queue.put([deadly, good], "interactive")
    for _ in range(2):
        start_worker()
        os.kill(hold.wait_until_begun(), signal.SIGKILL)
    start_worker()
    outcomes = queue.wait([deadly.id, good.id], 30)
    assert outcomes[deadly.id].status == "failed"
    assert "Two workers in a row died" in outcomes[deadly.id].reason
    assert outcomes[good.id].status == "finished"
    assert sorted(runs(runs_file)) == ["good", hold.prompt, hold.prompt]


def test_when_redis_goes_away_waiting_ends_soon_and_all_works_again_after(
    data_dir: Path, settings: Settings, start_worker: StartWorker, hold: Hold, runs_file: Path
) -> None:
    queue = JobQueue.from_settings(settings)
    held, later = job(hold.prompt), job("later")
    with ThreadPoolExecutor() as pool:
        with embedded_redis(data_dir):
            start_worker()
            queue.put([held], "interactive")
            hold.wait_until_begun()
            waiting = pool.submit(queue.wait, [held.id], 60)
        gone_at = time.monotonic()
        with pytest.raises(QueueUnavailableError):
            waiting.result()
    with pytest.raises(QueueUnavailableError):
        queue.put([later], "interactive")
    assert time.monotonic() - gone_at < 8
    with embedded_redis(data_dir):
        hold.release()
        queue.put([held, later], "interactive")
        outcomes = queue.wait([held.id, later.id], 30)
        assert {outcome.status for outcome in outcomes.values()} == {"finished"}
    assert runs(runs_file) == [hold.prompt, "later"]
    queue.close()


def test_a_job_whose_result_redis_was_not_there_to_take_is_run_again_by_the_same_process(
    data_dir: Path, settings: Settings, start_worker: StartWorker, hold: Hold
) -> None:
    queue = JobQueue.from_settings(settings)
    held = job(hold.prompt)
    with embedded_redis(data_dir):
        worker = start_worker()
        queue.put([held], "interactive")
        first = hold.wait_until_begun()
    hold.release()
    assert worker.stderr is not None
    assert any(b"redis went away" in line for line in worker.stderr)
    with embedded_redis(data_dir):
        assert hold.wait_until_begun() == first
        hold.release()
        assert queue.wait([held.id], 30)[held.id].status == "finished"
    queue.close()


def test_waiting_jobs_outlive_redis(
    data_dir: Path, settings: Settings, start_worker: StartWorker
) -> None:
    queue = JobQueue.from_settings(settings)
    waiting = job("waiting")
    with embedded_redis(data_dir):
        queue.put([waiting], "batch")
    with embedded_redis(data_dir):
        start_worker()
        assert queue.wait([waiting.id], 30)[waiting.id].status == "finished"
    queue.close()


def test_equal_requests_at_the_same_time_are_one_job(
    queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
) -> None:
    held = job(hold.prompt)
    start_worker()

    def ask() -> str:
        queue.put([held], "interactive")
        return queue.wait([held.id], 30)[held.id].status

    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(ask) for _ in range(4)]
        hold.wait_until_begun()
        hold.release()
        assert [answer.result() for answer in answers] == ["finished"] * 4
    assert ask() == "finished"
    assert runs(runs_file) == [hold.prompt]


def test_interactive_jobs_overtake_batches(
    queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
) -> None:
    start_worker()
    batch = [job(hold.prompt), job("batch 1"), job("batch 2"), job("batch 3")]
    queue.put(batch, "batch")
    hold.wait_until_begun()
    # The second also waits in the batch: it moves up.
    interactive = [job("interactive"), job("batch 3")]
    queue.put(interactive, "interactive")
    hold.release()
    queue.wait([each.id for each in batch], 30)
    assert runs(runs_file) == [hold.prompt, "interactive", "batch 3", "batch 1", "batch 2"]


def test_a_failed_job_hurts_no_other_and_is_run_again_when_asked_again(
    queue: JobQueue, start_worker: StartWorker, runs_file: Path
) -> None:
    start_worker()
    bad, good = job("fail"), job("good")
    for _ in range(2):
        queue.put([bad, good], "batch")
        outcomes = queue.wait([bad.id, good.id], 30)
        assert outcomes[bad.id].status == "failed"
        assert outcomes[bad.id].reason.endswith("The prompt told me to fail.")
        assert outcomes[good.id].status == "finished"
    assert runs(runs_file) == ["fail", "good", "fail"]


def test_an_unfinished_job_goes_on_and_answers_the_next_request(
    queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
) -> None:
    held = job(hold.prompt)
    start_worker()
    queue.put([held], "batch")
    hold.wait_until_begun()
    assert queue.wait([held.id], 0.2)[held.id].status == "unfinished"
    hold.release()
    queue.put([held], "batch")
    assert queue.wait([held.id], 30)[held.id].status == "finished"
    assert runs(runs_file) == [hold.prompt]


def test_a_worker_asked_to_stop_finishes_its_job(
    queue: JobQueue, start_worker: StartWorker, hold: Hold
) -> None:
    held, next_ = job(hold.prompt), job("next")
    worker = start_worker()
    queue.put([held, next_], "batch")
    hold.wait_until_begun()
    worker.terminate()
    hold.release()
    assert worker.wait(20) == 0
    outcomes = queue.wait([held.id, next_.id], 0.2)
    assert outcomes[held.id].status == "finished"
    assert outcomes[next_.id].status == "unfinished"


class TestShortJobs:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"job_timeout": 1})

    def test_a_job_that_takes_too_long_fails_and_the_next_is_run(
        self, queue: JobQueue, start_worker: StartWorker, hold: Hold
    ) -> None:
        slow, good = job(hold.prompt), job("good")
        start_worker()
        queue.put([slow, good], "batch")
        hold.wait_until_begun()
        outcomes = queue.wait([slow.id, good.id], 30)
        assert outcomes[slow.id].status == "failed"
        assert "exceeded maximum timeout value (1 seconds)" in outcomes[slow.id].reason
        assert outcomes[good.id].status == "finished"


class TestBatches:
    """Workers that take up to three jobs of a batch at a time."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"batch_size": 3})

    def test_jobs_are_prepared_together_and_a_prompt_goes_in_between(
        self, queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
    ) -> None:
        batch = [job(hold.prompt), job("1"), job("2"), job("3")]
        queue.put(batch, "batch")
        start_worker()
        hold.wait_until_begun()
        queue.put([job("now"), job("and now")], "interactive")
        assert len(queue.running()) == 3
        hold.release()
        queue.wait([each.id for each in batch], 30)
        together = f"together {[hold.prompt, '1', '2']}"
        assert runs(runs_file) == [together, hold.prompt, "now", "and now", "1", "2", "3"]

    def test_a_killed_workers_jobs_are_put_back_once_and_run_one_by_one(
        self, queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
    ) -> None:
        deadly, others = job(hold.prompt), [job("1"), job("2")]
        queue.put([deadly, *others], "batch")
        for _ in range(2):
            start_worker()
            os.kill(hold.wait_until_begun(), signal.SIGKILL)
        start_worker()
        outcomes = queue.wait([deadly.id, *(each.id for each in others)], 60)
        assert outcomes.pop(deadly.id).status == "failed"
        assert {outcome.status for outcome in outcomes.values()} == {"finished"}
        assert sorted(runs(runs_file)) == sorted(
            [f"together {[hold.prompt, '1', '2']}", hold.prompt, hold.prompt, "1", "2"]
        )

    def test_a_worker_asked_to_stop_gives_back_what_it_has_not_begun(
        self, queue: JobQueue, start_worker: StartWorker, hold: Hold, runs_file: Path
    ) -> None:
        held, others = job(hold.prompt), [job("1"), job("2")]
        queue.put([held, *others, job("3")], "batch")
        worker = start_worker()
        hold.wait_until_begun()
        worker.terminate()
        hold.release()
        assert worker.wait(30) == 0
        assert queue.running() == {}
        start_worker()
        queue.wait([each.id for each in (*others, job("3"))], 30)
        # Nobody died, so they are prepared together again.
        assert runs(runs_file)[2:] == [f"together {['1', '2', '3']}", "1", "2", "3"]

    def test_a_failed_job_hurts_no_other_of_its_batch(
        self, queue: JobQueue, start_worker: StartWorker
    ) -> None:
        batch = [job("1"), job("fail"), job("3")]
        queue.put(batch, "batch")
        start_worker()
        outcomes = queue.wait([each.id for each in batch], 30)
        statuses = [outcome.status for outcome in outcomes.values()]
        assert statuses == ["finished", "failed", "finished"]
