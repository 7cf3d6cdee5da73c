package receiver

import (
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// jenkinsJob is the body of Jenkins' notification plugin.
type jenkinsJob struct {
	Name        string       `json:"name"`
	DisplayName string       `json:"display_name"`
	URL         string       `json:"url"`
	Build       jenkinsBuild `json:"build"`
}

type jenkinsBuild struct {
	FullURL    string            `json:"full_url,omitempty"`
	Number     int64             `json:"number,omitempty"`
	QueueID    int64             `json:"queue_id"`
	Timestamp  int64             `json:"timestamp"`          // ms since 1970
	Duration   int64             `json:"duration,omitempty"` // ms
	Phase      string            `json:"phase"`
	Status     string            `json:"status,omitempty"`
	URL        string            `json:"url,omitempty"`
	Parameters map[string]string `json:"parameters,omitempty"`
	Notes      string            `json:"notes,omitempty"`
}

// jenkinsBody has paths below the root where Jenkins has them, and addresses where it has
// addresses.
func jenkinsBody(e *notify.Event) ([]byte, []Field) {
	phase := "FINALIZED"
	switch e.Kind {
	case queue.EventQueued:
		phase = "QUEUED"
	case queue.EventStarted:
		phase = "STARTED"
	case queue.EventEnded, queue.EventCancelled:
	}
	status := string(e.Result)
	if e.Kind == queue.EventCancelled {
		status = string(queue.Aborted)
	}
	params, _ := parameters(e, maxValues)
	return marshal(jenkinsJob{
		Name: e.Job, DisplayName: e.Job[strings.LastIndexByte(e.Job, '/')+1:], URL: relative(e.JobURL),
		Build: jenkinsBuild{
			FullURL: e.BuildURL, Number: e.Number, QueueID: e.Item, Timestamp: e.At.UnixMilli(), Duration: e.Took().Milliseconds(),
			Phase: phase, Status: status, URL: relative(e.BuildURL), Parameters: params, Notes: cut(e.Detail(), maxValues/valueShare),
		},
	}), nil
}

// relative returns an address from "job/" on.
func relative(address string) string {
	if at := strings.Index(address, "/job/"); at >= 0 {
		return address[at+1:]
	}
	return address
}
