"""Files scanned by a cluster: dask's executor does the work as it is."""

import pytest

from insn import scan_file, scan_files

distributed = pytest.importorskip("distributed", reason="needs `pip install distributed`")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of its libraries, which are not ours to mend
def test_a_local_dask_cluster_scans_files_as_this_process_does():
    paths = ["/bin/gzip", "/bin/true", "/etc/passwd"]
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = list(scan_files(paths, client.get_executor()))
    assert [scan.path for scan in found] == paths
    assert found[2].error is not None
    for scan, path in zip(found[:2], paths, strict=False):
        here = scan_file(path)
        assert (scan.records == here.records).all()
        assert (scan.entry_verdicts == here.entry_verdicts).all()
