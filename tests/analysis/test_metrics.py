"""The metrics of a study."""

from __future__ import annotations

from actbench.analysis.metrics import metrics_for


def test_every_corruption_adds_an_accuracy() -> None:
    metrics = metrics_for(["fog", "jpeg_compression"])
    assert list(metrics)[-2:] == ["accuracy_fog", "accuracy_jpeg_compression"]
    assert metrics["accuracy_jpeg_compression"].label == "accuracy under jpeg compression"
    assert all(name == metric.name for name, metric in metrics.items())
    assert {m.name for m in metrics.values() if m.has_margin} == {
        "clean_accuracy",
        "corrupted_accuracy",
        "accuracy_drop",
        "matched_accuracy",
        "accuracy_fog",
        "accuracy_jpeg_compression",
    }
