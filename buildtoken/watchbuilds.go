package buildtoken

import "sync"

// WatchBuilds is [Controller.Watch] for who looks at builds of one job: the
// channel is closed when one was started, stopped or ended, or a configuration
// came into force, whatever is queued meanwhile.
func (c *Controller) WatchBuilds(full string) (changed <-chan struct{}) {
	return c.queue.ofJobs.watch(full)
}

// watchers are those who wait for builds, by job. The zero value has none.
type watchers struct {
	// mu guards the following.
	mu sync.Mutex
	// changed has the channels of jobs whose builds somebody has asked for.
	changed map[string]chan struct{}
}

func (w *watchers) watch(job string) <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed, ok := w.changed[job]
	if !ok {
		changed = make(chan struct{})
		if w.changed == nil {
			w.changed = map[string]chan struct{}{}
		}
		w.changed[job] = changed
	}
	return changed
}

// wake wakes those who wait for builds of a job.
func (w *watchers) wake(job string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if changed, ok := w.changed[job]; ok {
		close(changed)
		delete(w.changed, job)
	}
}

func (w *watchers) wakeEverybody() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, changed := range w.changed {
		close(changed)
	}
	clear(w.changed)
}
