"""The shared vocabulary: nouns, the wire form of a job, errors and all SQL. Imports nothing of ours and holds no policy.

kind         a Kubernetes kind (AppRepository)
type         a repository type (helm, oci)
source       the remote side of a type; also who asks for a repository (a directory of manifests, a cluster)
job          one piece of work: sync, files, delete
backend      who runs jobs and when
listing      what a source offers now
known        what our rows hold
revision     a source's word for "nothing changed"; None when it cannot say
fingerprint  hash of what a resource asks for, or of one listed entry
"""
