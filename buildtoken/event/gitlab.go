package event

import (
	"fmt"
	"strings"

	jsonv2 "github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// gitlabPayload is what we read of GitLab's payloads.
type gitlabPayload struct {
	ObjectKind string `json:"object_kind"`
	EventName  string `json:"event_name"`
	Action     string `json:"action"` // of a release

	Before      string   `json:"before"`
	After       string   `json:"after"`
	CheckoutSHA string   `json:"checkout_sha"`
	Ref         string   `json:"ref"` // of a job: without refs/heads/
	SHA         string   `json:"sha"` // of a job
	Commits     []commit `json:"commits"`
	Total       *int     `json:"total_commits_count"`
	Commit      *commit  `json:"commit"` // of a job, a release, a comment on a commit
	// Tag is whether the ref of a job is a tag, or the tag of a release.
	Tag  jsontext.Value `json:"tag"`
	Name string         `json:"name"`
	URL  string         `json:"url"`

	UserUsername string `json:"user_username"`
	User         struct {
		Username string `json:"username"`
	} `json:"user"`
	Project struct {
		PathWithNamespace string `json:"path_with_namespace"`
		DefaultBranch     string `json:"default_branch"`
		WebURL            string `json:"web_url"`
	} `json:"project"`

	Attributes   gitlabObject  `json:"object_attributes"`
	MergeRequest *gitlabObject `json:"merge_request"`
	Issue        *gitlabObject `json:"issue"`
}

// gitlabObject is a merge request, an issue, a comment or a pipeline.
type gitlabObject struct {
	IID          int64   `json:"iid"`
	Action       string  `json:"action"`
	Status       string  `json:"status"`
	Title        string  `json:"title"`
	URL          string  `json:"url"`
	SourceBranch string  `json:"source_branch"`
	SourceID     *int64  `json:"source_project_id"`
	TargetID     *int64  `json:"target_project_id"`
	OldRev       string  `json:"oldrev"`
	LastCommit   *commit `json:"last_commit"`
	Note         string  `json:"note"`
	Ref          string  `json:"ref"`
	Tag          bool    `json:"tag"`
	SHA          string  `json:"sha"`
	BeforeSHA    string  `json:"before_sha"`
}

func readGitLab(h Header, body []byte) (Delivery, error) {
	var p gitlabPayload
	if _, err := payload(h, body, &p); err != nil {
		return Delivery{}, err
	}
	e := Event{Kind: GitLab, Repo: p.Project.PathWithNamespace, DefaultBranch: p.Project.DefaultBranch, URL: p.Project.WebURL, Sender: p.UserUsername}
	if e.Sender == "" {
		e.Sender = p.User.Username
	}
	// The signature covers the body and not the header with the name.
	e.Name = p.ObjectKind
	if e.Name == "" {
		e.Name = p.EventName // of a system hook
	}
	header := h.Get("X-Gitlab-Event")
	hook := strings.ReplaceAll(strings.ToLower(strings.TrimSuffix(header, " Hook")), " ", "_")
	if e.Name == "" {
		e.Name = hook
	}
	e.alias(e.Name)
	if kind := kindOf(hook); kind == "" || kind == e.Name || hook == e.Name {
		e.alias(header)
	}
	if e.ID = h.Get("Webhook-Id"); e.ID == "" {
		e.ID = h.Get("Idempotency-Key")
	}
	switch e.Name {
	case "push", "tag_push":
		e.Name = "push"
		p.push(&e)
	case "merge_request":
		e.Name = "pull_request"
		p.pull(&e, &p.Attributes)
		if e.Action = action(p.Attributes.Action); e.Action == "edited" && p.Attributes.OldRev != "" {
			e.Action, e.Before = "synchronize", sha(p.Attributes.OldRev)
		}
	case "note":
		p.note(&e)
	case "issue", "work_item":
		e.Name, e.Action = "issues", action(p.Attributes.Action)
		e.Number, e.Title, e.URL = p.Attributes.IID, p.Attributes.Title, p.Attributes.URL
	case "release":
		p.release(&e)
	case "pipeline":
		e.Action = p.Attributes.Status
		e.SHA, e.Before = sha(p.Attributes.SHA), sha(p.Attributes.BeforeSHA)
		e.shortRef(p.Attributes.Ref, p.Attributes.Tag)
		p.ran(&e)
	case "build":
		e.Name = "job"
		e.SHA = sha(p.SHA)
		e.shortRef(p.Ref, string(p.Tag) == "true")
		p.ran(&e)
	default:
		e.Action = action(p.Attributes.Action)
	}
	return Delivery{Events: []Event{e}, once: idOnce(e.ID)}, nil
}

// kindOf returns the object_kind of the events that GitLab sends under a name in X-Gitlab-Event;
// "" if there can be several.
func kindOf(hook string) string {
	switch hook {
	case "push", "tag_push", "merge_request", "note", "pipeline", "release":
		return hook
	case "confidential_note":
		return "note"
	case "job":
		return "build"
	}
	return ""
}

func (p *gitlabPayload) push(e *Event) {
	e.setRef(p.Ref)
	e.Before, e.SHA = sha(p.Before), sha(p.CheckoutSHA)
	if e.SHA == "" {
		e.SHA = sha(p.After)
	}
	e.Created, e.Deleted = isZero(p.Before), isZero(p.After)
	if e.Deleted {
		e.SHA = ""
	}
	e.setHead(messageOf(p.Commits, e.SHA))
	// GitLab lists 20 commits at most and counts all of them.
	complete := !e.Created && !e.Deleted && e.Tag == "" && p.Total != nil && *p.Total == len(p.Commits)
	e.setFiles(p.Commits, complete)
}

// pull reads where a merge request comes from.
func (p *gitlabPayload) pull(e *Event, m *gitlabObject) {
	e.Number, e.Title = m.IID, m.Title
	if m.URL != "" {
		e.URL = m.URL
	}
	e.Ref, e.Branch = fmt.Sprintf("refs/merge-requests/%d/head", m.IID), m.SourceBranch
	e.Fork = m.SourceID == nil || m.TargetID == nil || *m.SourceID != *m.TargetID
	if m.LastCommit != nil {
		e.SHA = sha(m.LastCommit.ID)
		e.setHead(m.LastCommit.Message)
	}
}

// note reads a comment.
func (p *gitlabPayload) note(e *Event) {
	if e.Name, e.Action = "issue_comment", p.Attributes.Action; e.Action == "create" {
		e.Action = "created"
	}
	switch {
	case p.MergeRequest != nil:
		p.pull(e, p.MergeRequest)
	case p.Issue != nil:
		e.Number, e.Title = p.Issue.IID, p.Issue.Title
	case p.Commit != nil:
		e.Name, e.SHA = "commit_comment", sha(p.Commit.ID)
	}
	e.Message, e.Skip, e.URL = p.Attributes.Note, false, p.Attributes.URL
}

func (p *gitlabPayload) release(e *Event) {
	switch p.Action {
	case "create":
		e.Action = "published"
	case "update":
		e.Action = "edited"
	case "delete":
		e.Action = "deleted"
	}
	var tag string
	if jsonv2.Unmarshal(p.Tag, &tag, anyText) == nil {
		e.setRef("refs/tags/" + tag)
	}
	if p.Commit != nil {
		e.SHA = sha(p.Commit.ID)
	}
	e.Title, e.URL = p.Name, p.URL
}

// ran reads the merge request or ref of a pipeline or job. The event of a job does not
// contain its merge request, so the code can be that of a fork.
func (p *gitlabPayload) ran(e *Event) {
	if p.MergeRequest != nil {
		e.Number, e.Title = p.MergeRequest.IID, p.MergeRequest.Title
		e.Fork = p.MergeRequest.SourceID == nil || p.MergeRequest.TargetID == nil || *p.MergeRequest.SourceID != *p.MergeRequest.TargetID
	}
	if strings.HasPrefix(e.Ref, "refs/merge-requests/") && p.MergeRequest == nil {
		e.Fork = true
	}
	if p.Commit != nil {
		e.setHead(p.Commit.Message)
	}
}

// shortRef sets the ref from a name without refs/heads/ or refs/tags/.
func (e *Event) shortRef(name string, tag bool) {
	switch {
	case name == "" || strings.HasPrefix(name, "refs/"):
		e.setRef(name)
	case tag:
		e.setRef("refs/tags/" + name)
	default:
		e.setRef("refs/heads/" + name)
	}
}
