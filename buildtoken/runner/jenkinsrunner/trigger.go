package jenkinsrunner

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

const (
	// lastRetry is the longest time between two triggers.
	lastRetry = time.Minute
	// triggerTimeout bounds a trigger: uploads take time, and what became of one without an answer is unknown.
	triggerTimeout = 10 * time.Minute
	// answerTime is how long the answer to a trigger is waited for when the build is stopped.
	answerTime = 10 * time.Second
)

// errAway means that Jenkins has not got the trigger, and may take it later.
var errAway = errors.New("jenkins cannot be reached")

// errUnknown means that Jenkins may have got the trigger.
var errUnknown = errors.New("the connection broke after the trigger was sent, so it is not repeated")

// trigger has the job queued, unless that was done before.
func (l *relay) trigger(ctx context.Context) (runner.Result, bool) {
	if l.at.Item != 0 {
		return runner.Result{}, false
	}
	if l.at.Sent {
		return l.search(ctx, fmt.Errorf("%w: the server was restarted meanwhile", errUnknown))
	}
	step := l.every
	for {
		before, err := l.look(ctx)
		if err == nil {
			err = l.send(ctx, before)
		}
		if errors.Is(err, errUnknown) && l.surelyLost(ctx, before, err) {
			err = fmt.Errorf("%w: %w", errAway, err)
		}
		switch {
		case err == nil && before.follow:
			return runner.Result{}, false
		case err == nil:
			l.comment("without a user, the build is not followed")
			return runner.Result{Outcome: runner.Success}, true
		case ctx.Err() != nil:
			return l.ended(ctx), true
		case errors.Is(err, errUnknown) && !errors.Is(err, errAway):
			return l.search(ctx, err)
		case !errors.Is(err, errAway), time.Since(l.at.Began) >= l.retryFor:
			return runner.Result{Outcome: runner.NotBuilt, Reason: runner.OneLine(err.Error())}, true
		case step == l.every:
			l.comment("not reached, trying again for %v: %v", l.retryFor, err)
		}
		if l.at.Sent {
			l.at.Sent = false
			l.note()
		}
		if !runner.Pause(ctx, min(step, l.retryFor-time.Since(l.at.Began))) { // the last try is at the end
			return l.ended(ctx), true
		}
		step = min(2*step, lastRetry)
	}
}

// state is what is known of the job before it is triggered.
type state struct {
	readable bool  // false if nothing below is known
	follow   bool  // false if its builds cannot be read
	Next     int64 `json:"nextBuildNumber"`
	InQueue  bool  `json:"inQueue"`
	Property []struct {
		Parameters []struct {
			Name string `json:"name"`
		} `json:"parameterDefinitions"`
	} `json:"property"`
}

// params returns the names of the job's parameters.
func (s state) params() map[string]bool {
	names := map[string]bool{}
	for _, p := range s.Property {
		for _, d := range p.Parameters {
			names[d.Name] = true
		}
	}
	return names
}

// look reads the job, without changing anything. It finds out whether Jenkins is there before a trigger is sent, whose
// answer could be that of a proxy.
func (l *relay) look(ctx context.Context) (state, error) {
	var s state
	err := l.jenkins.get(ctx, l.path, "nextBuildNumber,inQueue,property[parameterDefinitions[name]]", &s)
	s.readable, s.follow = err == nil, err == nil
	code := status(err)
	switch {
	case err == nil:
		return s, nil
	case (code == http.StatusForbidden || code == http.StatusUnauthorized || code == http.StatusNotFound) && !l.hasUser && l.jobToken() != "":
		return s, nil
	case code == http.StatusNotFound:
		s.follow = true
		return s, nil // the trigger gets the same answer if there is no such job
	case errors.Is(err, errNotJenkins), code/100 == 3, code/100 == 4 && code != http.StatusRequestTimeout && code != http.StatusTooManyRequests:
		return s, err
	}
	return s, fmt.Errorf("%w: %w", errAway, err)
}

// send sends the trigger, and records the item that Jenkins has made of it.
func (l *relay) send(ctx context.Context, before state) error {
	l.at.Next = before.Next
	known := before.params()
	action := "build"
	if len(known) > 0 || !before.readable && len(l.build.Params) > 0 {
		action = "buildWithParameters"
	}
	resp, err := l.sendTo(ctx, action)
	if code := status(err); code == http.StatusBadRequest || code == http.StatusInternalServerError {
		// Nothing was queued. Perhaps the job has parameters and this is the action for jobs without, or the other way round:
		// not all servers show parameters, and a job without an account cannot be read.
		first := err
		action = map[string]string{"build": "buildWithParameters", "buildWithParameters": "build"}[action]
		if resp, err = l.sendTo(ctx, action); status(err) != 0 && !errors.Is(err, errUnknown) && !errors.Is(err, errAway) {
			err = first
		}
	}
	switch {
	case status(err) == http.StatusNotFound:
		return fmt.Errorf("%w; there is no job %s, or the user may not read it", err, l.job)
	case err != nil:
		return err
	}
	l.at.Item, l.at.Shared = resp.item, resp.status == http.StatusSeeOther
	l.note()
	if before.readable && (action == "build" || len(known) > 0) {
		l.warnOfUnknown(known)
	}
	l.comment("queued %s as item %d", l.job, resp.item)
	return nil
}

// warnOfUnknown names the parameters that Jenkins would ignore silently.
func (l *relay) warnOfUnknown(known map[string]bool) {
	var ignored []string
	for _, p := range l.build.Params {
		if !known[p.Name] {
			ignored = append(ignored, p.Name)
		}
	}
	if len(ignored) > 0 {
		l.comment("the job %s has no parameter %s; the value is not used", l.job, strings.Join(ignored, ", "))
	}
}

// queued is the answer to a trigger.
type queued struct {
	item   int64
	status int
}

// itemPath is the end of the URL of a queue item. Only the number is used.
var itemPath = regexp.MustCompile(`/queue/item/([1-9][0-9]{0,18})/?$`)

// sendTo sends the trigger once. Before it is written, it is recorded that Jenkins may have it.
func (l *relay) sendTo(ctx context.Context, action string) (queued, error) {
	form, err := l.form()
	if err != nil {
		return queued{}, err
	}
	defer form.close()
	ctx, stop := stoppable(ctx)
	defer stop()
	written, saveErr := false, error(nil)
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		l.at.Sent, written = true, true
		if saveErr = l.save(); saveErr != nil {
			_ = info.Conn.Close() // nothing was written yet, and nothing will be
		}
	}}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodPost,
		l.jenkins.base+l.path+"/"+action+"?delay=0sec", form.body)
	if err != nil {
		return queued{}, errors.New("the URL is malformed")
	}
	req.ContentLength = form.length
	req.Header.Set("Content-Type", form.kind)
	l.jenkins.authorize(req)
	resp, err := l.jenkins.once.Do(req)
	switch err = withoutURL(err); {
	case saveErr != nil:
		return queued{}, fmt.Errorf("%w: %w", errAway, saveErr)
	case err != nil && written:
		return queued{}, fmt.Errorf("%w: %w", errUnknown, err)
	case err != nil:
		return queued{}, fmt.Errorf("%w: %w", errAway, err)
	}
	defer func() { _ = resp.Body.Close() }() // it was only read
	return parseQueued(resp)
}

// parseQueued returns what an answer to a trigger means.
func parseQueued(resp *http.Response) (queued, error) {
	location, _ := url.Parse(resp.Header.Get("Location"))
	switch code := resp.StatusCode; {
	case code == http.StatusCreated || code/100 == 3:
		if location != nil {
			if m := itemPath.FindStringSubmatch(location.Path); m != nil {
				if id, err := strconv.ParseInt(m[1], 10, 64); err == nil {
					return queued{id, code}, nil
				}
			}
		}
		if code/100 == 3 {
			return queued{}, refusal(resp)
		}
		return queued{}, errNotJenkins
	case code/100 == 2:
		return queued{}, errNotJenkins
	case code == http.StatusServiceUnavailable || code == http.StatusTooManyRequests:
		return queued{}, fmt.Errorf("%w: %w", errAway, refusal(resp))
	case code == http.StatusBadGateway || code == http.StatusGatewayTimeout:
		return queued{}, fmt.Errorf("%w: %w", errUnknown, refusal(resp)) // a proxy that had sent it on, perhaps
	}
	return queued{}, refusal(resp)
}

// stoppable returns a context that goes on for a while after ctx has ended, because what became of a trigger without an
// answer is unknown. The caller must call stop.
func stoppable(ctx context.Context) (longer context.Context, stop func()) {
	longer, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), triggerTimeout, fmt.Errorf("no answer within %v", triggerTimeout))
	done := make(chan struct{})
	release := context.AfterFunc(ctx, func() { // stop waits for it
		defer close(done)
		if runner.Pause(longer, answerTime) {
			cancel()
		}
	})
	return longer, func() {
		cancel()
		if !release() {
			<-done
		}
	}
}

// mark is the note of the trigger's cause in Jenkins.
func (l *relay) mark() string { return "buildtoken " + l.at.Mark }
