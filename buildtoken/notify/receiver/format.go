package receiver

import (
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
)

// Format is what a notification looks like.
type Format string

// The formats.
const (
	Standard Format = "standard" // a signed event of Standard Webhooks
	Slack    Format = "slack"    // also Mattermost and others that take what Slack takes
	Discord  Format = "discord"
	Teams    Format = "teams" // a card for a workflow of Microsoft Teams
	Ntfy     Format = "ntfy"
	GitHub   Format = "github" // a commit status; also Gitea and Forgejo
	GitLab   Format = "gitlab" // a commit status
	Jenkins  Format = "jenkins"
	Mail     Format = "mail"
)

// Formats returns all formats.
func Formats() []Format {
	return []Format{Standard, Slack, Discord, Teams, Ntfy, GitHub, GitLab, Jenkins, Mail}
}

// formatNames lists the formats for an error.
func formatNames() string {
	names := make([]string, 0, len(Formats()))
	for _, f := range Formats() {
		names = append(names, string(f))
	}
	return strings.Join(names, ", ")
}

func (f Format) orDefault() Format {
	if f == "" {
		return Standard
	}
	return f
}

// format is how a [Format] is made.
type format struct {
	// contentType is that of the body.
	contentType string
	// body returns the body for an event, and more header fields.
	body func(e *notify.Event) ([]byte, []Field)
	// path returns what follows the configured URL.
	path func(repository, commit string) (string, error)
	// accepts reports whether an answer other than 2xx means that all is well.
	accepts func(status int, text string) bool
	// status is whether it sets a commit status, log whether it shows the end of the log.
	status, log bool
}

const jsonType = "application/json"

func formats() map[Format]format {
	return map[Format]format{
		Standard: {contentType: jsonType, body: standardBody},
		Slack:    {contentType: jsonType, body: slackBody},
		Discord:  {contentType: jsonType, body: discordBody},
		Teams:    {contentType: jsonType, body: teamsBody},
		Ntfy:     {contentType: "text/plain; charset=utf-8", body: ntfyBody},
		GitHub:   {contentType: jsonType, body: githubBody, path: githubPath, status: true},
		GitLab:   {contentType: jsonType, body: gitlabBody, path: gitlabPath, status: true, accepts: gitlabAccepts},
		Jenkins:  {contentType: jsonType, body: jenkinsBody},
		Mail:     {contentType: "text/plain; charset=utf-8", log: true},
	}
}

// maxAnswer bounds what is read of an answer, in bytes.
const maxAnswer = 16 << 10

// outcome returns what an answer means.
func (f format) outcome(resp *http.Response, now time.Time) notify.Outcome {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer)) // the status counts
	if resp.StatusCode/100 == 2 || f.accepts != nil && f.accepts(resp.StatusCode, string(text)) {
		return notify.Outcome{}
	}
	out := notify.Outcome{Error: strings.TrimSpace(strconv.Itoa(resp.StatusCode) + " " + http.StatusText(resp.StatusCode))}
	switch code := resp.StatusCode; {
	case code == http.StatusGone:
		out.Gone = true
	case code == http.StatusTooManyRequests || code == http.StatusServiceUnavailable:
		out.After = retryAfter(resp.Header.Get("Retry-After"), now)
	case code/100 == 3:
		out.Error += " (redirects are not followed)"
	case code/100 == 4 && !slices.Contains([]int{http.StatusRequestTimeout, http.StatusTooEarly, http.StatusMisdirectedRequest}, code):
		out.Refused = true
	}
	return out
}
