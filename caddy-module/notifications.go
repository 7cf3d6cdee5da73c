package caddymodule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken"
	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// NotificationStatus is what `GET /build_token/notifications` of the admin API shows.
type NotificationStatus struct {
	// Targets are those of the configuration, and those that something waits for or was given
	// up for, by name.
	Targets []TargetStatus `json:"targets"`
	// Notifications wait or were given up, newest first, at most 1000 of each.
	Notifications []queue.Notification `json:"notifications"`
}

// TargetStatus is how one target of notifications is doing.
type TargetStatus struct {
	Target string `json:"target"`
	// Waiting is how many wait, Oldest when the oldest of them happened.
	Waiting int       `json:"waiting"`
	Oldest  time.Time `json:"oldest,omitzero"`
	// GivenUp is how many on record were given up.
	GivenUp int `json:"given_up"`
	// Gone means that the receiver answered 410 Gone, and gets nothing until the
	// configuration is loaded again.
	Gone bool `json:"gone,omitempty"`
	// Unknown means that the configuration does not have the target.
	Unknown bool `json:"unknown,omitempty"`
}

// shownNotifications is how many notifications of one state are listed.
const shownNotifications = 1000

// notifications returns what waits and what was given up.
func notifications(ctx context.Context, ctl *buildtoken.Controller) (NotificationStatus, error) {
	status := NotificationStatus{Targets: []TargetStatus{}, Notifications: []queue.Notification{}}
	known := ctl.Targets()
	backlogs, err := ctl.Backlogs(ctx)
	if err != nil {
		return status, err
	}
	for _, b := range backlogs {
		gone, has := known[b.Target]
		delete(known, b.Target)
		status.Targets = append(status.Targets, TargetStatus{b.Target, b.Waiting, b.Oldest, b.GivenUp, gone, !has})
	}
	for target, gone := range known {
		status.Targets = append(status.Targets, TargetStatus{Target: target, Gone: gone})
	}
	slices.SortFunc(status.Targets, func(a, b TargetStatus) int { return strings.Compare(a.Target, b.Target) })
	for _, state := range []queue.Delivery{queue.DeliveryWaiting, queue.DeliveryGivenUp} {
		all, err := ctl.Notifications(ctx, queue.NotificationFilter{State: state, Limit: shownNotifications})
		if err != nil {
			return status, err
		}
		status.Notifications = append(status.Notifications, all...)
	}
	return status, nil
}

// serveNotifications lists notifications.
func (a *App) serveNotifications(w http.ResponseWriter, r *http.Request) error {
	return answerJSON(w, r, func() (NotificationStatus, error) {
		ctl := a.opened()
		if ctl == nil {
			return NotificationStatus{}, buildtoken.ErrShuttingDown
		}
		return notifications(r.Context(), ctl)
	})
}

// posted returns the controller for a POST request.
func (a *App) posted(w http.ResponseWriter, r *http.Request) (*buildtoken.Controller, error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, apiError(http.StatusMethodNotAllowed, fmt.Errorf("method %s: only POST is here", r.Method))
	}
	ctl := a.opened()
	if ctl == nil {
		return nil, apiError(http.StatusServiceUnavailable, buildtoken.ErrShuttingDown)
	}
	return ctl, nil
}

// serveRetry makes a notification due: POST notifications/retry?id=.
func (a *App) serveRetry(w http.ResponseWriter, r *http.Request) error {
	ctl, err := a.posted(w, r)
	if err != nil {
		return err
	}
	id, err := strconv.ParseInt(r.URL.Query().Get("id"), 10, 64)
	if err != nil {
		return apiError(http.StatusBadRequest, errors.New("the id of a notification is a number; notifications lists them"))
	}
	switch err := ctl.RetryNotification(r.Context(), id); {
	case errors.Is(err, queue.ErrNotFound):
		return apiError(http.StatusNotFound, fmt.Errorf("notification %d is not on record, was delivered, or there is a later one about its item", id))
	case err != nil:
		return apiError(http.StatusServiceUnavailable, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// TestedNotification is the answer to `POST /build_token/notifications/test?target=`.
type TestedNotification struct {
	Target string `json:"target"`
	// Error is why the sample was not accepted; "" if it was.
	Error string `json:"error"`
}

// serveTest sends a sample: POST notifications/test?target=&param=NAME=VALUE.
func (a *App) serveTest(w http.ResponseWriter, r *http.Request) error {
	ctl, err := a.posted(w, r)
	if err != nil {
		return err
	}
	var params []notify.Param
	for _, text := range r.URL.Query()["param"] {
		name, value, ok := strings.Cut(text, "=")
		if !ok {
			return apiError(http.StatusBadRequest, fmt.Errorf("%q is not NAME=VALUE", text))
		}
		params = append(params, notify.Param{Name: name, Value: value})
	}
	target := r.URL.Query().Get("target")
	out, err := ctl.TestNotification(r.Context(), target, params)
	if errors.Is(err, buildtoken.ErrNoTarget) {
		var names []string
		for name := range ctl.Targets() {
			names = append(names, name)
		}
		slices.Sort(names)
		there := "none is configured"
		if len(names) > 0 {
			there = "there are: " + strings.Join(names, ", ")
		}
		return apiError(http.StatusNotFound, fmt.Errorf("no notify '%s'; %s", target, there))
	}
	if err != nil {
		return apiError(http.StatusServiceUnavailable, err)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(TestedNotification{target, out.Error}) // the client may be gone
	return nil
}
