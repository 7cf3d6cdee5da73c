package httprunner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/runner"
)

// responsePrefix begins the names of the parameters that stand for fields of the answer. A parameter of the job cannot
// have such a name where it would matter: the fields come later, and win.
const responsePrefix = "response."

// askTimeout bounds one request of the following.
const askTimeout = time.Minute

// follow is the checked form of [Follow].
type follow struct {
	request          request
	done, result     *expression // result may be nil
	every, lostAfter time.Duration
}

func newFollow(c Follow, header []Field) (*follow, error) {
	f := &follow{every: c.Every, lostAfter: c.LostAfter}
	if f.every == 0 {
		f.every = DefaultEvery
	}
	if f.lostAfter == 0 {
		f.lostAfter = DefaultLostAfter
	}
	var own []Field // those about the client, not those about the body
	for _, h := range header {
		if !strings.HasPrefix(strings.ToLower(h.Name), "content-") {
			own = append(own, h)
		}
	}
	var err error
	if f.request, err = parseRequest(http.MethodGet, strings.ReplaceAll(c.URL, "{"+responsePrefix, "{param."+responsePrefix), own, ""); err != nil {
		return nil, err
	}
	env, err := newEnvironment()
	if err != nil {
		return nil, err
	}
	if f.done, err = env.compile(c.Done, boolResult); err != nil {
		return nil, fmt.Errorf("done: %w", err)
	}
	if c.Result != "" {
		if f.result, err = env.compile(c.Result, boolResult, textResult); err != nil {
			return nil, fmt.Errorf("result: %w", err)
		}
	}
	return f, nil
}

// fields returns the fields of the answer that the URL refers to.
func (f *follow) fields(got answer) ([]runner.Param, error) {
	var all []runner.Param
	var body any
	for _, name := range f.request.url.Params() {
		path, ok := strings.CutPrefix(name, responsePrefix)
		if !ok {
			continue
		}
		if body == nil {
			body = parseJSON(got.body)
		}
		value := body
		for key := range strings.SplitSeq(path, ".") {
			m, _ := value.(map[string]any)
			value = m[key]
		}
		text, err := json.Marshal(value)
		switch value := value.(type) {
		case string:
			all = append(all, runner.Param{Name: name, Value: value})
		case int64, float64, bool:
			all = append(all, runner.Param{Name: name, Value: string(text)})
		default:
			return nil, errors.Join(err, fmt.Errorf("the answer has no text or number %s to follow", path))
		}
	}
	return all, nil
}

// watch requests the state of what was started until it has ended.
func (r *Runner) watch(ctx context.Context, params []runner.Param, out *runner.Output) runner.Result {
	request, err := r.follow.request.build(ctx, params)
	if err != nil {
		return runner.FailedBy(fmt.Errorf("follow: %w", err)) // it stays so
	}
	heard, last := time.Now(), []byte(nil)
	for {
		if !runner.Pause(ctx, r.follow.every) {
			return runner.AbortedBy(ctx)
		}
		got, err := r.ask(ctx, request)
		if ctx.Err() != nil {
			return runner.AbortedBy(ctx)
		}
		done := false
		if err == nil {
			if !bytes.Equal(got.body, last) {
				last = got.body
				_, _ = out.Write(last)
				out.EndLine()
			}
			done, err = r.follow.done.holds(ctx, got)
			if err != nil && got.status/100 == 2 {
				return runner.FailedBy(fmt.Errorf("done: %w", err))
			}
		}
		switch {
		case done:
			return r.ended(ctx, got)
		case err == nil:
			heard = time.Now()
		case time.Since(heard) > r.follow.lostAfter:
			return runner.FailedBy(fmt.Errorf("nothing to follow for %v: %w", r.follow.lostAfter, err))
		}
	}
}

// ask sends one request of the following. It returns an error if there is no usable answer.
func (r *Runner) ask(ctx context.Context, request *http.Request) (answer, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, askTimeout, fmt.Errorf("no answer within %v", askTimeout))
	defer cancel()
	got, _, err := r.do(request.Clone(ctx), new(runner.Output))
	return got, err
}

// ended returns the result of what was followed.
func (r *Runner) ended(ctx context.Context, got answer) runner.Result {
	if r.follow.result == nil {
		if got.status/100 == 2 {
			return runner.Result{Outcome: runner.Success}
		}
		return runner.FailedBy(errors.New(describe(got.status)))
	}
	outcome, err := r.follow.result.outcome(ctx, got)
	switch {
	case err != nil:
		return runner.FailedBy(fmt.Errorf("result: %w", err))
	case outcome == runner.Success:
		return runner.Result{Outcome: outcome}
	}
	return runner.Result{Outcome: outcome, Reason: "reported by the system that the build was followed on"}
}

// parseJSON returns the parsed body, in which integers stay integers, or the body's text if it is not JSON.
func parseJSON(body []byte) any {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var parsed any
	if err := decoder.Decode(&parsed); err != nil || decoder.More() {
		return string(body)
	}
	return numbers(parsed)
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return i
		}
		f, _ := v.Float64() // of a number of JSON, infinite at worst
		return f
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	}
	return v
}
