package caddymodule

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/definition"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
	"github.com/buildtoken/buildtoken/buildtoken/web"
	"github.com/buildtoken/buildtoken/buildtoken/web/triggers"
)

// operatorName is the user that causes and records of cancellations name.
const operatorName = "of the admin API"

// operatorSite returns the site that serves the admin API: the same jobs and
// rules as of the handler's site, without tokens.
func (h *Handler) operatorSite(s *site) *web.Site {
	public := h.site
	root := "http://localhost/"
	for _, address := range s.addresses {
		if strings.HasPrefix(address, "http") {
			root = address
			break
		}
	}
	return &web.Site{
		Open: public.Open, Definition: public.Definition, Log: public.Log, Done: public.Done, InFlight: public.InFlight,
		Methods: []string{http.MethodPost}, Operator: true,
		Root: func(*http.Request) string { return root }, User: func(*http.Request) string { return operatorName },
	}
}

// siteOf returns the site that defines a job, or any site if none does.
func (a *App) siteOf(full string) *web.Site {
	a.mu.Lock()
	defer a.mu.Unlock()
	var found *web.Site
	for _, s := range a.sites {
		if found == nil || s.definition.Has(full) && !found.Definition.Has(full) {
			found = s.operator
		}
	}
	return found
}

// serveOperator serves what callers with a token have below /buildByToken/, for
// callers of the admin API, which need none.
func (a *App) serveOperator(w http.ResponseWriter, r *http.Request) error {
	s := a.siteOf(r.URL.Query().Get("job"))
	inner := r.Clone(r.Context())
	inner.URL.Path = strings.TrimPrefix(r.URL.Path, strings.TrimSuffix(adminPath, "/"))
	inner.URL.RawPath = ""
	if inner.URL.Path == "/buildByToken/cancel" && s != nil && !s.Definition.Has(r.URL.Query().Get("job")) {
		return cancelGone(w, s.Request(w, inner)) //nolint:contextcheck // the request has it
	}
	if s == nil || !triggers.Serve(s.Request(w, inner)) { //nolint:contextcheck // the request has it
		return apiError(http.StatusNotFound, errors.New("no such job"))
	}
	return nil
}

// cancelGone takes an item out of the queue whose job no site has.
func cancelGone(w http.ResponseWriter, q *web.Request) error {
	query := q.R.URL.Query()
	item, ok := web.Number(query.Get("item"))
	if !ok {
		return apiError(http.StatusBadRequest, fmt.Errorf("%q is not the number of an item", query.Get("item")))
	}
	ctl, err := q.Controller()
	if err = cmp.Or(q.Allow(http.MethodPost), err); err == nil {
		err = q.Cancel(ctl, query.Get("job"), item, q.Who())
	}
	if err != nil {
		verdict := web.VerdictOf(err)
		return apiError(verdict.Status, errors.New(verdict.Text))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// OperatorBuild is a build as `GET /build_token/build?job=&number=` of the admin
// API shows it.
type OperatorBuild struct {
	Job    string `json:"job"`
	Number int64  `json:"number"`
	Item   int64  `json:"item"`
	Result string `json:"result,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// findBuild returns a build of a job; the newest one without a number.
func (a *App) findBuild(r *http.Request) (OperatorBuild, error) {
	ctl, err := a.controller()
	if err != nil {
		return OperatorBuild{}, apiError(http.StatusServiceUnavailable, err)
	}
	full := r.URL.Query().Get("job")
	s := a.siteOf(full)
	if s == nil || !s.Definition.Has(full) {
		return OperatorBuild{}, apiError(http.StatusNotFound, fmt.Errorf("%w: %q", definition.ErrUnknownJob, full))
	}
	var b queue.Build
	if text := r.URL.Query().Get("number"); text != "" {
		number, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return OperatorBuild{}, apiError(http.StatusBadRequest, fmt.Errorf("%q is not the number of a build", text))
		}
		b, err = ctl.Build(r.Context(), full, number)
		if errors.Is(err, queue.ErrNotFound) {
			err = fmt.Errorf("it has no build #%d", number)
		}
		if err != nil {
			return OperatorBuild{}, apiError(http.StatusNotFound, err)
		}
	} else {
		builds, err := ctl.Builds(r.Context(), full, 0, 1)
		if err != nil || len(builds) == 0 {
			return OperatorBuild{}, apiError(http.StatusNotFound, cmp.Or(err, errors.New("the job has no build yet")))
		}
		b = builds[0]
	}
	return OperatorBuild{Job: full, Number: b.Number, Item: b.Item.ID, Result: string(b.Result), Reason: b.Reason}, nil
}

func (a *App) serveBuild(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func() (OperatorBuild, error) { return a.findBuild(r) })
}

// serveConsole writes what there is of the log of a build.
func (a *App) serveConsole(w http.ResponseWriter, r *http.Request) error {
	b, err := a.findBuild(r)
	if err != nil {
		return err
	}
	ctl, err := a.controller()
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err)
	}
	log, err := ctl.Log(r.Context(), b.Job, b.Number)
	if err != nil {
		return apiError(http.StatusNotFound, err)
	}
	defer func() { _ = log.Close() }() // only read
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	part := log.Part(0, log.Size())
	_, _ = io.Copy(w, part) // the client may be gone
	if part.Err() != nil {
		panic(http.ErrAbortHandler) // so that the client does not take what it has for all
	}
	return nil
}
