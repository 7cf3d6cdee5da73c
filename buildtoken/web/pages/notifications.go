package pages

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// notified is the state of the last notification to one target.
type notified struct {
	Name string
	// What is the build that it is about, such as "#12".
	What string
	// Sent, GivenUp and Next are zero unless it was sent or given up, or is tried again.
	Sent, GivenUp, Next time.Time
	Skipped             bool
	// Error is why the last attempt failed, or why there was nothing to send.
	Error string
}

// notificationsShown is how many records of a job are looked at.
const notificationsShown = 200

// notifications are the last notification to each target of a job, or those about one
// item. Targets that the configuration has are listed even if nothing was sent yet.
func (v *visit) notifications(full string, item int64) ([]notified, error) {
	var all []notified
	seen := map[string]bool{}
	compiled, err := v.Definition.Find(full)
	if err != nil {
		return nil, nil //nolint:nilerr // the job was removed meanwhile
	}
	records, err := v.ctl.Notifications(v.R.Context(), queue.NotificationFilter{Job: full, Item: item, Limit: notificationsShown})
	if err != nil {
		return nil, err
	}
	for _, n := range records { // newest first
		if !seen[n.Target] {
			seen[n.Target] = true
			all = append(all, describeNotification(n))
		}
	}
	for _, n := range compiled.Notify {
		if !seen[n.Target] && item == 0 {
			all = append(all, notified{Name: shortTarget(n.Target)})
		}
	}
	slices.SortStableFunc(all, func(a, b notified) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func describeNotification(n queue.Notification) notified {
	one := notified{Name: shortTarget(n.Target), What: fmt.Sprint("item ", n.Item), Error: n.Error}
	if n.Build != 0 {
		one.What = fmt.Sprint("#", n.Build)
	}
	switch n.State {
	case queue.DeliverySent:
		one.Sent = n.Settled
	case queue.DeliveryGivenUp:
		one.GivenUp = n.Settled
	case queue.DeliverySkipped:
		one.Skipped = true
	case queue.DeliveryWaiting, queue.DeliveryReplaced:
		if n.Tries > 0 {
			one.Next = n.Next
		}
	}
	return one
}

// shortTarget is the name of a target as its job or folder has it.
func shortTarget(target string) string { return target[strings.LastIndexByte(target, '/')+1:] }
