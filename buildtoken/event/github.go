package event

import (
	"fmt"
	"strings"
)

// maxGitHubCommits is how many commits GitHub puts into a push at most; with that
// many there may be more.
const maxGitHubCommits = 2048

// githubPayload is what we read of the payloads of GitHub, and of Gitea, Forgejo
// and Gogs, which are shaped after them.
type githubPayload struct {
	Action  string `json:"action"`
	Ref     string `json:"ref"`      // of create and delete: without refs/heads/
	RefType string `json:"ref_type"` // of create and delete
	Branch  string `json:"branch"`   // of repository_dispatch
	Before  string `json:"before"`
	After   string `json:"after"`
	SHA     string `json:"sha"` // of status, and of Gitea's create

	Created bool `json:"created"`
	Deleted bool `json:"deleted"`
	Forced  bool `json:"forced"`

	Compare      string   `json:"compare"`
	CompareURL   string   `json:"compare_url"` // Gitea's compare
	Commits      []commit `json:"commits"`
	TotalCommits *int     `json:"total_commits"` // Gitea
	HeadCommit   *commit  `json:"head_commit"`

	Number      int64          `json:"number"`
	PullRequest *githubPull    `json:"pull_request"`
	Issue       *githubIssue   `json:"issue"`
	IsPull      bool           `json:"is_pull"` // Gitea: the issue of a comment is a pull request
	Comment     *githubComment `json:"comment"`
	Release     *githubRelease `json:"release"`
	Deployment  *githubRun     `json:"deployment"`
	WorkflowRun *githubRun     `json:"workflow_run"`
	CheckRun    *githubRun     `json:"check_run"`
	CheckSuite  *githubRun     `json:"check_suite"`

	Repository githubRepo `json:"repository"`
	Sender     githubUser `json:"sender"`
}

type githubRepo struct {
	ID            int64  `json:"id"`
	FullName      string `json:"full_name"`
	DefaultBranch string `json:"default_branch"`
	HTMLURL       string `json:"html_url"`
}

type githubUser struct {
	Login    string `json:"login"`
	Username string `json:"username"` // Gogs
}

type githubPull struct {
	Number  int64      `json:"number"`
	Title   string     `json:"title"`
	HTMLURL string     `json:"html_url"`
	Head    githubHead `json:"head"`
	Base    githubHead `json:"base"`
}

type githubHead struct {
	Ref  string      `json:"ref"`
	SHA  string      `json:"sha"`
	Repo *githubRepo `json:"repo"` // null once the fork is deleted
}

type githubIssue struct {
	Number      int64     `json:"number"`
	Title       string    `json:"title"`
	HTMLURL     string    `json:"html_url"`
	PullRequest *struct{} `json:"pull_request"`
}

type githubComment struct {
	Body     string `json:"body"`
	HTMLURL  string `json:"html_url"`
	CommitID string `json:"commit_id"`
}

type githubRelease struct {
	TagName         string `json:"tag_name"`
	Name            string `json:"name"`
	HTMLURL         string `json:"html_url"`
	TargetCommitish string `json:"target_commitish"`
}

// githubRun is something that ran for a commit: a workflow, a check, a deployment.
type githubRun struct {
	Name           string      `json:"name"`
	HTMLURL        string      `json:"html_url"`
	HeadBranch     string      `json:"head_branch"`
	HeadSHA        string      `json:"head_sha"`
	HeadCommit     *commit     `json:"head_commit"`
	HeadRepository *githubRepo `json:"head_repository"`
	Ref            string      `json:"ref"`
	SHA            string      `json:"sha"`
	CheckSuite     *githubRun  `json:"check_suite"`
}

func readGitHub(kind Kind, h Header, body []byte) (Delivery, error) {
	var p githubPayload
	text, err := payload(h, body, &p)
	if err != nil {
		return Delivery{}, err
	}
	e := Event{Kind: kind}
	if kind == GitHub {
		e.Name, e.ID = h.Get("X-Github-Event"), h.Get("X-Github-Delivery")
	} else {
		for _, forge := range []string{"X-Forgejo-", "X-Gitea-", "X-Gogs-"} {
			if e.Name == "" {
				e.Name, e.ID = h.Get(forge+"Event"), h.Get(forge+"Delivery")
				e.alias(h.Get(forge + "Event-Type"))
			}
		}
	}
	// The signature covers the body and not the headers, so a recorded push must not pass for
	// something else under another name, and nothing else for a push.
	e.Name = strings.ToLower(e.Name)
	switch {
	case e.Name == "ping":
		return Delivery{Ping: true}, nil
	case p.isPush():
		e.Name = "push"
	case e.Name == "push" && p.PullRequest != nil:
		return Delivery{}, fmt.Errorf("%w: a pull request in a push", ErrMalformed)
	}
	if e.Action = p.Action; kind == Gitea && e.Name == "pull_request" {
		e.Action = action(p.Action)
	}
	e.Repo, e.DefaultBranch, e.URL = p.Repository.FullName, p.Repository.DefaultBranch, p.Repository.HTMLURL
	if e.Sender = p.Sender.Login; e.Sender == "" {
		e.Sender = p.Sender.Username
	}
	d := Delivery{once: idOnce(e.ID)}
	switch {
	case e.Name == "push":
		p.push(&e)
	case e.Name == "create", e.Name == "delete":
		p.branchOrTag(&e)
	case p.PullRequest != nil:
		p.pull(&e)
	case p.Issue != nil:
		p.issue(&e)
	case p.Release != nil:
		p.release(&e)
	default:
		p.other(&e)
	}
	if e.Name == "push" || e.Name == "pull_request" || p.PullRequest != nil {
		d.once = bodyOnce(text)
	}
	d.Events = []Event{e}
	return d, nil
}

// isPush reports whether the payload has what only a push has.
func (p *githubPayload) isPush() bool { return p.Ref != "" && p.After != "" && p.PullRequest == nil }

func (p *githubPayload) push(e *Event) {
	e.setRef(p.Ref)
	e.SHA, e.Before = sha(p.After), sha(p.Before)
	e.Created = p.Created || isZero(p.Before)
	e.Deleted = p.Deleted || isZero(p.After)
	if p.HeadCommit != nil && !e.Deleted {
		e.setHead(p.HeadCommit.Message)
		if e.Tag != "" && p.HeadCommit.ID != "" {
			e.SHA = p.HeadCommit.ID // After may be an annotated tag
		}
	} else if !e.Deleted {
		e.setHead(messageOf(p.Commits, p.After))
	}
	for _, url := range []string{p.CompareURL, p.Compare} {
		if url != "" {
			e.URL = url
		}
	}
	// The commits of a new branch are counted from wherever the forge thinks fit.
	complete := !e.Created && !e.Deleted && !p.Forced && e.Tag == ""
	if e.Kind == GitHub {
		complete = complete && len(p.Commits) < maxGitHubCommits
	} else {
		complete = complete && p.TotalCommits != nil && *p.TotalCommits == len(p.Commits)
	}
	e.setFiles(p.Commits, complete)
}

// branchOrTag reads a create or a delete, which have short names of refs.
func (p *githubPayload) branchOrTag(e *Event) {
	ref := p.Ref
	switch {
	case strings.HasPrefix(ref, "refs/"):
	case p.RefType == "tag":
		ref = "refs/tags/" + ref
	default:
		ref = "refs/heads/" + ref
	}
	e.setRef(ref)
	e.Created, e.Deleted = e.Name == "create", e.Name == "delete"
	if e.Created {
		e.SHA = sha(p.SHA)
	}
}

func (p *githubPayload) pull(e *Event) {
	pull := p.PullRequest
	e.Number, e.Title, e.URL = pull.Number, pull.Title, pull.HTMLURL
	if e.Number == 0 {
		e.Number = p.Number
	}
	e.Ref, e.Branch, e.SHA = fmt.Sprintf("refs/pull/%d/head", e.Number), pull.Head.Ref, sha(pull.Head.SHA)
	if e.Action == "synchronize" {
		e.Before = sha(p.Before)
	}
	e.Fork = pull.Head.Repo == nil || pull.Base.Repo == nil || pull.Head.Repo.FullName == "" ||
		pull.Head.Repo.ID != pull.Base.Repo.ID || pull.Head.Repo.FullName != pull.Base.Repo.FullName
	if p.Comment != nil {
		e.Message = p.Comment.Body
	}
}

// issue reads what happens to an issue. If that is a pull request, the payload
// does not say where its code comes from.
func (p *githubPayload) issue(e *Event) {
	e.Number, e.Title, e.URL = p.Issue.Number, p.Issue.Title, p.Issue.HTMLURL
	if p.Issue.PullRequest != nil || p.IsPull {
		e.Fork = true
		e.Ref = fmt.Sprintf("refs/pull/%d/head", e.Number)
	}
	if p.Comment != nil {
		e.Message = p.Comment.Body
		if p.Comment.HTMLURL != "" {
			e.URL = p.Comment.HTMLURL
		}
	}
}

func (p *githubPayload) release(e *Event) {
	e.setRef("refs/tags/" + p.Release.TagName)
	e.Title, e.URL = p.Release.Name, p.Release.HTMLURL
	if n := len(p.Release.TargetCommitish); (n == 40 || n == 64) && strings.Trim(p.Release.TargetCommitish, "0123456789abcdef") == "" {
		e.SHA = p.Release.TargetCommitish // otherwise it is the name of a branch
	}
}

// other reads what is left, as far as it has a commit.
func (p *githubPayload) other(e *Event) {
	e.SHA = sha(p.SHA)
	if strings.HasPrefix(p.Ref, "refs/") {
		e.setRef(p.Ref)
	}
	if p.Branch != "" {
		e.setRef("refs/heads/" + p.Branch)
	}
	if p.Comment != nil {
		e.Message, e.URL, e.SHA = p.Comment.Body, p.Comment.HTMLURL, p.Comment.CommitID
	}
	for _, run := range []*githubRun{p.WorkflowRun, p.CheckRun, p.CheckSuite, p.Deployment} {
		if run != nil {
			run.read(e)
			return
		}
	}
}

func (r *githubRun) read(e *Event) {
	e.Title, e.SHA = r.Name, r.HeadSHA
	if r.HTMLURL != "" {
		e.URL = r.HTMLURL
	}
	if r.SHA != "" { // a deployment is of a ref of the repository itself
		e.SHA, e.Ref = r.SHA, r.Ref
		return
	}
	branch, repo, suite := r.HeadBranch, r.HeadRepository, r
	if r.CheckSuite != nil {
		suite = r.CheckSuite
		branch = suite.HeadBranch
	}
	if suite.HeadCommit != nil {
		e.setHead(suite.HeadCommit.Message)
	}
	if branch != "" {
		e.setRef("refs/heads/" + branch)
	}
	// Checks of pull requests from forks have no branch.
	e.Fork = branch == ""
	if repo != nil {
		e.Fork = repo.FullName == "" || repo.FullName != e.Repo
	} else if e.Name == "workflow_run" {
		e.Fork = true
	}
}
