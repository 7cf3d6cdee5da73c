package jenkinstest

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// backlog bounds how far the log of a build can be ahead of its readers, in bytes, so that an
// endless build does not fill the memory.
const backlog = 8 << 20

// Build is a build of a job. Its methods are safe for concurrent use.
type Build struct {
	Job     string
	Number  int64
	QueueID int64
	Params  map[string]string
	Files   map[string]File
	Causes  []Cause

	began time.Time
	// stop ends when the build is requested to stop, all when it is killed.
	stop, all             context.Context //nolint:containedctx // they belong to the build
	requestStop, hardStop context.CancelFunc

	// mu guards the following.
	mu     sync.Mutex
	room   sync.Cond // signals that read has changed, or that the build was killed
	log    []byte
	read   int // up to which the log was sent
	reads  int // how often
	result string
	ended  time.Time
}

func newBuild(ctx context.Context, it *item, number int64) *Build {
	b := &Build{
		Job: it.job.Name, Number: number, QueueID: it.id, Params: it.params, Files: it.files, Causes: it.causes,
		began: time.Now(),
	}
	b.room.L = &b.mu
	b.all, b.hardStop = context.WithCancel(ctx)
	b.stop, b.requestStop = context.WithCancel(b.all)
	return b
}

// Context ends when the build is requested to stop.
func (b *Build) Context() context.Context { return b.stop }

// Killed ends when the build is killed.
func (b *Build) Killed() context.Context { return b.all }

// Result returns the result, empty while the build runs.
func (b *Build) Result() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.result
}

// Log returns the whole log.
func (b *Build) Log() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.log)
}

// Write appends to the log. It never fails, and waits while readers are far behind.
func (b *Build) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for len(b.log)-b.read > backlog && b.all.Err() == nil {
		b.room.Wait()
	}
	b.log = append(b.log, p...)
	return len(p), nil
}

func (b *Build) inProgress() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended.IsZero()
}

func (b *Build) kill() {
	b.hardStop()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.room.Broadcast()
}

func (b *Build) run(work func(*Build) string) {
	release := context.AfterFunc(b.all, func() { b.kill() })
	defer release()
	for _, c := range b.Causes {
		fmt.Fprintln(b, c.Description)
	}
	result := work(b)
	if b.stop.Err() != nil {
		result = "ABORTED"
	}
	fmt.Fprintf(b, "Finished: %s\n", result)
	b.mu.Lock()
	b.result, b.ended = result, time.Now()
	b.mu.Unlock()
	b.hardStop()
}

// maxLines is how many lines of a running log are sent at once.
const maxLines = 10_000

// since returns the text of the log from an offset on, the size that Jenkins announces, and whether the log is complete.
func (b *Build) since(offset int, exact bool) (text []byte, size int, complete bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if offset > len(b.log) {
		offset = 0
	}
	text, complete = b.log[offset:], !b.ended.IsZero()
	if !complete {
		end := 0
		for range maxLines {
			n := bytes.IndexByte(text[end:], '\n')
			if n < 0 {
				break
			}
			end += n + 1
		}
		text = text[:end]
	}
	size = len(b.log)
	if exact {
		size = offset + len(text)
	}
	b.reads++
	b.read = max(b.read, offset+len(text))
	b.room.Broadcast()
	return bytes.Clone(text), size, complete
}

// Watched waits until the log was read n times from now on, or the build is asked to stop.
func (b *Build) Watched(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for until := b.reads + n; b.reads < until && b.stop.Err() == nil; {
		b.room.Wait()
	}
}
