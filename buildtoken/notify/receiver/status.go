package receiver

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/buildtoken/buildtoken/buildtoken/notify"
	"github.com/buildtoken/buildtoken/buildtoken/queue"
)

// maxDescription is the size of the longest description that GitHub accepts, in characters.
const maxDescription = 140

// description returns a description of a commit status.
func description(e *notify.Event) string {
	text := queue.OneLine(strings.TrimPrefix(e.Text(), e.Job), 1<<10)
	if runes := []rune(strings.TrimSpace(text)); len(runes) > maxDescription {
		return string(runes[:maxDescription-1]) + "…"
	}
	return strings.TrimSpace(text)
}

func githubBody(e *notify.Event) ([]byte, []Field) {
	state := "error"
	switch {
	case e.Kind == queue.EventQueued, e.Kind == queue.EventStarted:
		state = "pending"
	case e.Result == queue.Success:
		state = "success"
	case e.Result == queue.Failure, e.Result == queue.Unstable:
		state = "failure"
	}
	return marshal(struct {
		State       string `json:"state"`
		TargetURL   string `json:"target_url,omitempty"`
		Description string `json:"description"`
		Context     string `json:"context"`
	}{state, e.URL(), description(e), e.Job}), []Field{{"Accept", jsonType}}
}

func gitlabBody(e *notify.Event) ([]byte, []Field) {
	state := "failed"
	switch {
	case e.Kind == queue.EventQueued:
		state = "pending"
	case e.Kind == queue.EventStarted:
		state = "running"
	case e.Kind == queue.EventCancelled, e.Result == queue.Aborted:
		state = "canceled"
	case e.Result == queue.Success:
		state = "success"
	}
	return marshal(struct {
		State       string `json:"state"`
		TargetURL   string `json:"target_url,omitempty"`
		Description string `json:"description"`
		Name        string `json:"name"`
	}{state, e.URL(), description(e), e.Job}), nil
}

// checkCommit refuses what cannot be the ID of a commit.
func checkCommit(commit string) error {
	if commit == "" {
		return errors.New("the commit is empty")
	}
	if strings.ContainsFunc(commit, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) {
		return errors.New("the commit is not the ID of a commit")
	}
	return nil
}

func githubPath(repository, commit string) (string, error) {
	if err := checkCommit(commit); err != nil {
		return "", err
	}
	owner, name, two := strings.Cut(repository, "/")
	bad := []string{"", ".", ".."}
	if !two || slices.Contains(bad, owner) || slices.Contains(bad, name) || strings.Contains(name, "/") {
		return "", errors.New("the repository is not OWNER/NAME")
	}
	return "/repos/" + url.PathEscape(owner) + "/" + url.PathEscape(name) + "/statuses/" + commit, nil
}

func gitlabPath(repository, commit string) (string, error) {
	if err := checkCommit(commit); err != nil {
		return "", err
	}
	if repository == "" || slices.ContainsFunc(strings.Split(repository, "/"), func(s string) bool { return s == "" || s == "." || s == ".." }) {
		return "", errors.New("the repository is neither GROUP/PROJECT nor a number")
	}
	return "/projects/" + url.PathEscape(repository) + "/statuses/" + commit, nil
}

// gitlabAccepts reports whether the commit has the status already: GitLab refuses to set a
// status that it has, or that is behind it.
func gitlabAccepts(status int, text string) bool {
	return status == http.StatusBadRequest && strings.Contains(text, "Cannot transition status")
}
