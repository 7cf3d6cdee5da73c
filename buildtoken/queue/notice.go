package queue

import "slices"

// maxNotice is the maximum number of items, jobs and logs in a [Notice].
const maxNotice = 1000

// Notice is what another server has changed. Goroutines that wait for one of these
// things look again.
type Notice struct {
	// All means that anything may have changed.
	All bool `json:"all,omitempty"`
	// Items were started or cancelled, or the logs of their builds began or ended.
	Items []int64 `json:"items,omitempty"`
	// Jobs have a build that changed.
	Jobs []string `json:"jobs,omitempty"`
	// Logs are jobs with a build whose log has grown.
	Logs []string `json:"logs,omitempty"`
	// Queued means that something was queued, or that rules have changed. It is not passed on.
	Queued bool `json:"-"`
	// Lost means that builds are recorded as running although their server is gone. It is not passed on.
	Lost bool `json:"-"`
}

// Merge returns a notice of everything that both contain.
func (n Notice) Merge(o Notice) Notice {
	n.All = n.All || o.All
	n.Lost = n.Lost || o.Lost
	n.Queued = n.Queued || o.Queued
	n.Logs = union(n.Logs, o.Logs)
	n.Items = union(n.Items, o.Items)
	n.Jobs = union(n.Jobs, o.Jobs)
	if n.All = n.All || len(n.Items)+len(n.Jobs)+len(n.Logs) > maxNotice; n.All {
		n.Items, n.Jobs, n.Logs = nil, nil, nil
	}
	return n
}

// OnlyLogs reports whether logs have grown and nothing else has changed.
func (n Notice) OnlyLogs() bool {
	return len(n.Logs) > 0 && !n.All && !n.Queued && !n.Lost && len(n.Items) == 0 && len(n.Jobs) == 0
}

func union[T int64 | string](a, b []T) []T {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
