package pages

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/buildtoken/buildtoken/buildtoken/web"
)

// debounce is how long a stream waits after a change for more of them.
const debounce = 250 * time.Millisecond

// stream answers with the events of a page, until it will not change any
// more, the client goes, or Done is closed:
//
//	page  changes of the title, the announcement and the regions
//	log   lines of the console, see logEvent
//	go    the browser should load another page instead
//	done  nothing more will come
func (v *visit) stream(load loader) error {
	v.streaming = true
	p, err := load(v)
	if err != nil {
		return err
	}
	b := v.kit.enter(p.key)
	defer v.kit.leave(p.key)
	s, err := b.get(v.R.Context(), v, p, true)
	if errors.Is(err, errEnded) {
		v.Stream("text/event-stream") // the browser connects again
		return nil
	}
	if err != nil {
		return err
	}
	if v.R.Method == http.MethodHead {
		v.W.Header().Set("Content-Type", "text/event-stream")
		return nil
	}
	leave, err := v.EnterStream()
	if err != nil {
		return err
	}
	defer leave()
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
	if s.log == nil {
		close(logEnded)
	} else {
		place := *s.log
		follower.Go(func() { // ends with ctx, for which stream waits
			defer close(logEnded)
			err := v.followLog(ctx, out, place)
			if err != nil && ctx.Err() == nil && !errors.Is(err, web.ErrClientGone) {
				v.Logger().Warn("log could not be sent to its end", zap.String("job", place.job), zap.Error(err))
			}
			if err != nil {
				cancel() // the browser connects again, and goes on where it was
			}
		})
	}
	v.follow(ctx, out, b, p, s, logEnded)
	return nil
}

// follow sends the changes of a page until it cannot change any more.
func (v *visit) follow(ctx context.Context, out *web.Events, b *board, p plan, s *shown, logEnded <-chan struct{}) {
	sent := map[string]*content{}
	has := v.has()
	for {
		if s.redirect != "" {
			_ = out.SendJSON("go", "", s.redirect) // it is the last thing to say
			return
		}
		nav, err := v.navPart(s.page) //nolint:contextcheck // it takes the request's
		if err != nil {
			v.Refuse(err) // the client comes back and gets the answer
			return
		}
		if v.sendNew(out, s, nav, sent, has) != nil {
			return
		}
		if s.ended {
			select {
			case <-logEnded:
				if ctx.Err() == nil { // else the client does not have all of it
					_ = out.SendJSON("done", "", nil) // it is the last thing to say
				}
			case <-ctx.Done():
			case <-v.Done:
			}
			return
		}
		if !v.wait(ctx, s.changed, s.next) {
			return
		}
		if s, err = b.get(ctx, v, p, false); err != nil {
			if !errors.Is(err, errEnded) {
				v.Refuse(err)
			}
			return
		}
	}
}

// wait returns when something has changed or become due, and a moment later in case more
// does. It reports false when the stream has to end.
func (v *visit) wait(ctx context.Context, changed <-chan struct{}, due time.Time) bool {
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
	return pause(ctx, v.Done, debounce)
}

// pageEvent has the changes of a page.
type pageEvent struct {
	Title   string   `json:"title"`
	Icon    string   `json:"icon"`
	Say     string   `json:"say"`
	Regions []update `json:"regions"`
}

// sendNew sends the regions that differ from those of the client, and the navigation, which is
// not shared. sent holds the regions that were sent to it, has the hashes of those that were
// part of the page.
func (v *visit) sendNew(out *web.Events, s *shown, nav *part, sent map[string]*content, has map[string]string) error {
	e := pageEvent{Title: s.Title, Icon: v.tabIcon(s.page), Say: s.Say}
	for _, p := range append(slices.Clip(s.parts), nav) {
		before := sent[p.Name]
		if before != nil && before.hash == p.Hash {
			continue
		}
		sent[p.Name] = p.content
		if before == nil && has[p.Name] == p.Hash {
			continue // nothing has changed since the page was made
		}
		e.Regions = append(e.Regions, p.updateFrom(before))
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
