package pages

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

const (
	// debounce is how long a stream waits after a change for more of them.
	debounce = 250 * time.Millisecond
	// restFactor is how many times the time of a rendering a stream rests before the next
	// one, so that many open pages of a large site do not keep the processor busy.
	restFactor = 10
	// mostRest bounds that rest.
	mostRest = 10 * time.Second
)

// stream answers with the events of a page, until it will not change any
// more, the client goes, or Done is closed:
//
//	page  changes of the title, the announcement and the regions
//	log   lines of the console, see logEvent
//	go    the browser should load another page instead
//	done  nothing more will come
func (v *visit) stream(load loader) error {
	v.streaming = true
	load = withNav(load)
	pg, err := v.watched(load)
	if err != nil {
		return err
	}
	if v.R.Method == http.MethodHead {
		v.W.Header().Set("Content-Type", "text/event-stream")
		v.W.WriteHeader(http.StatusOK)
		return nil
	}
	ctx, cancel := context.WithCancel(v.R.Context())
	out, end := v.Events(ctx)
	defer end()
	var follower sync.WaitGroup
	defer follower.Wait()
	defer cancel()
	if out.Retry(2*time.Second) != nil {
		return nil
	}
	logEnded := make(chan struct{})
	if pg.log == nil {
		close(logEnded)
	} else {
		place := *pg.log
		follower.Go(func() { // ends with ctx, for which stream waits
			defer close(logEnded)
			if v.followLog(ctx, out, place) != nil {
				cancel() // the client is gone
			}
		})
	}
	v.follow(ctx, out, load, pg, logEnded)
	return nil
}

// watched loads a page, and sets when to load it again.
func (v *visit) watched(load loader) (*page, error) {
	changed := v.ctl.Watch()
	pg, err := load(v)
	if err == nil && pg.changed == nil {
		pg.changed = changed
	}
	return pg, err
}

// follow sends the changes of a page until it cannot change any more.
func (v *visit) follow(ctx context.Context, out *web.Events, load loader, pg *page, logEnded <-chan struct{}) {
	sent := map[string]*content{}
	has := v.has()
	for {
		if pg.redirect != "" {
			_ = out.SendJSON("go", "", pg.redirect) // it is the last thing to say
			return
		}
		if v.sendNew(out, pg, sent, has) != nil {
			return
		}
		rest := min(restFactor*time.Since(v.Now), mostRest)
		if pg.ended {
			select {
			case <-logEnded:
				_ = out.SendJSON("done", "", nil) // it is the last thing to say
			case <-ctx.Done():
			case <-v.Done:
			}
			return
		}
		if !v.wait(ctx, pg.changed, pg.next, max(debounce, rest)) {
			return
		}
		v.Now = time.Now()
		next, err := v.watched(load)
		if err != nil {
			v.Refuse(err) // the client comes back and gets the answer
			return
		}
		pg = next
	}
}

// wait returns when something has changed or become due, and a rest later in case more
// does. It reports false when the stream has to end.
func (v *visit) wait(ctx context.Context, changed <-chan struct{}, due time.Time, rest time.Duration) bool {
	var dueNow <-chan time.Time
	if !due.IsZero() {
		timer := time.NewTimer(time.Until(due))
		defer timer.Stop()
		dueNow = timer.C
	}
	select {
	case <-changed:
	case <-dueNow:
	case <-ctx.Done():
		return false
	case <-v.Done:
		return false
	}
	return v.pause(ctx, rest)
}

// pause waits. It reports false when the stream has to end.
func (v *visit) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-v.Done:
		return false
	}
}

// pageEvent has the changes of a page.
type pageEvent struct {
	Title   string   `json:"title"`
	Icon    string   `json:"icon"`
	Say     string   `json:"say"`
	Regions []update `json:"regions"`
}

// sendNew sends the regions that differ from those of the client. sent holds the regions that
// were sent to it, has the hashes of those that were part of the page.
func (v *visit) sendNew(out *web.Events, pg *page, sent map[string]*content, has map[string]string) error {
	e := pageEvent{Title: pg.Title, Icon: v.tabIcon(pg), Say: pg.Say}
	for _, r := range pg.Regions {
		if r.Static {
			continue
		}
		done, err := v.region(r)
		if err != nil {
			return fmt.Errorf("pages: stream: %w", err)
		}
		before := sent[r.Name]
		if before != nil && before.hash == done.Hash {
			continue
		}
		var u update
		u, sent[r.Name] = difference(before, done)
		if before == nil && has[r.Name] == done.Hash {
			continue // nothing has changed since the page was made
		}
		e.Regions = append(e.Regions, u)
	}
	if e.Regions == nil {
		return nil
	}
	return out.SendJSON("page", "", e)
}

// has returns the hashes of the regions that the client shows, by name, from the
// parameter has: NAME:HASH,NAME:HASH.
func (v *visit) has() map[string]string {
	has := map[string]string{}
	for pair := range strings.SplitSeq(v.R.URL.Query().Get("has"), ",") {
		name, hash, _ := strings.Cut(pair, ":")
		has[name] = hash
	}
	return has
}
