package triggers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/token"
)

// maxWait is how long a trigger may wait for the end of its build; a longer preference
// is cut to it. Few clients, proxies and address translators keep a silent connection
// for longer. To wait longer, a client polls the status or follows the log.
const maxWait = 5 * time.Minute

// errWaited reports that the time is over that the client wanted to wait.
var errWaited = errors.New("triggers: waited as long as requested")

// mayWait returns how long the client prefers to wait for the end of its build: 0 if it
// does not, or may not know that end (RFC 7240 lets us ignore it then).
func (q *trigger) mayWait(out buildtoken.Outcome) time.Duration {
	wait := waitPreference(q.R.Header["Prefer"])
	if wait > 0 && !out.Grants.Has(token.Status) && !q.MayRead(out.Job) {
		return 0
	}
	return wait
}

// awaitEnd waits for the end of the item, and returns it if it comes in time. No
// executor waits with it. The answer announces a wait as long as was preferred; it does
// not announce one that is refused because too many clients wait, or cut short because
// the server stops.
func (q *trigger) awaitEnd(out buildtoken.Outcome, wait time.Duration) *queue.Entry {
	if wait <= 0 {
		return nil
	}
	ctx, release := q.UntilDone()
	defer release()
	ctx, cancel := context.WithTimeoutCause(ctx, wait, errWaited)
	defer cancel()
	entry, waited, err := q.ctl.AwaitEnd(ctx, q.Definition, out.Job, out.Item.ID)
	if waited && (err == nil || errors.Is(err, errWaited)) {
		q.W.Header().Set("Preference-Applied", "wait="+strconv.Itoa(int(wait/time.Second)))
	}
	if !waited || err != nil {
		return nil
	}
	return &entry
}

// endOf returns in words how the item ended.
func endOf(e queue.Entry) string {
	if e.Build == nil {
		return "which was cancelled"
	}
	return fmt.Sprintf("which ended as build %d: %s", e.Build.Number, e.Build.Result)
}

// waitPreference returns the preference wait (RFC 7240, 4.3), at most [maxWait]; 0 if
// there is none that can be read. Of several, the first counts.
func waitPreference(headers []string) time.Duration {
	for _, header := range headers {
		for preference := range splitList(header) {
			preference, _, _ = strings.Cut(preference, ";") // no valid value of wait has one
			name, value, _ := strings.Cut(preference, "=")
			if !strings.EqualFold(strings.TrimSpace(name), "wait") {
				continue
			}
			value = strings.TrimSpace(value)
			if inside, quoted := strings.CutPrefix(value, `"`); quoted {
				value = strings.TrimSuffix(inside, `"`)
			}
			seconds, err := strconv.ParseUint(value, 10, 32)
			if err != nil && !errors.Is(err, strconv.ErrRange) {
				return 0
			}
			return min(time.Duration(seconds)*time.Second, maxWait)
		}
	}
	return 0
}

// splitList splits a list at the commas outside of quotes.
func splitList(list string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, quoted := 0, false
		for i := 0; i < len(list); i++ {
			switch c := list[i]; {
			case c == '\\' && quoted:
				i++
			case c == '"':
				quoted = !quoted
			case c == ',' && !quoted:
				if !yield(list[start:i]) {
					return
				}
				start = i + 1
			}
		}
		yield(list[start:])
	}
}
