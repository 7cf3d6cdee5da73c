package queue

import "slices"

// maxNotice is how many items, jobs and logs a [Notice] names.
const maxNotice = 1000

// Notice says what another server has changed, so that who waits for it looks
// again.
type Notice struct {
	// All says that everything may have changed.
	All bool `json:"all,omitempty"`
	// Items were started or cancelled, or their builds' logs have begun or ended.
	Items []int64 `json:"items,omitempty"`
	// Jobs are those of which a build has changed.
	Jobs []string `json:"jobs,omitempty"`
	// Logs are the jobs of which the log of a build has grown.
	Logs []string `json:"logs,omitempty"`
	// Queued says that something was queued, or that rules have changed. It is not passed on.
	Queued bool `json:"-"`
	// Lost says that builds run on record whose server is gone. It is not passed on.
	Lost bool `json:"-"`
}

// And says what both notices say.
func (n Notice) And(o Notice) Notice {
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

// OnlyLogs says that logs have grown, and nothing else has changed.
func (n Notice) OnlyLogs() bool {
	return len(n.Logs) > 0 && !n.All && !n.Queued && !n.Lost && len(n.Items)+len(n.Jobs) == 0
}

func union[T int64 | string](a, b []T) []T {
	if len(b) == 0 {
		return a
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
