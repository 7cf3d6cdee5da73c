package event

import (
	"fmt"
	"strings"
)

// bitbucketPayload is what we read of the payloads of Bitbucket Cloud and of
// Bitbucket Data Center, which have little in common.
type bitbucketPayload struct {
	Actor struct {
		Nickname    string `json:"nickname"`     // Cloud
		DisplayName string `json:"display_name"` // Cloud, of apps
		Name        string `json:"name"`         // Data Center
	} `json:"actor"`
	Repository bitbucketRepo `json:"repository"`

	// Cloud
	Push struct {
		Changes []cloudChange `json:"changes"`
	} `json:"push"`
	CloudPull *cloudPull `json:"pullrequest"`
	Comment   *struct {
		Content struct {
			Raw string `json:"raw"`
		} `json:"content"` // Cloud
		Text string `json:"text"` // Data Center
	} `json:"comment"`

	// Data Center
	Changes  []centerChange `json:"changes"`
	ToCommit *struct {
		ID      string `json:"id"`
		Message string `json:"message"`
	} `json:"toCommit"`
	CenterPull *centerPull `json:"pullRequest"`
	FromHash   string      `json:"previousFromHash"`
}

type bitbucketRepo struct {
	FullName   string `json:"full_name"` // Cloud
	MainBranch *struct {
		Name string `json:"name"`
	} `json:"mainbranch"`
	Links links `json:"links"`
	// Data Center
	ID      int64  `json:"id"`
	Slug    string `json:"slug"`
	Project struct {
		Key string `json:"key"`
	} `json:"project"`
}

func (r *bitbucketRepo) name() string {
	if r.FullName == "" && r.Slug != "" {
		return r.Project.Key + "/" + r.Slug
	}
	return r.FullName
}

type links struct {
	HTML struct {
		Href string `json:"href"`
	} `json:"html"` // Cloud
	Self []struct {
		Href string `json:"href"`
	} `json:"self"` // Data Center; of Cloud an object, which is left out
}

func (l *links) url() string {
	if l.HTML.Href == "" && len(l.Self) > 0 {
		return l.Self[0].Href
	}
	return l.HTML.Href
}

type cloudChange struct {
	New   *cloudRef `json:"new"` // null: deleted
	Old   *cloudRef `json:"old"` // null: created
	Links links     `json:"links"`
}

type cloudRef struct {
	Type   string `json:"type"` // branch, named_branch, bookmark, tag
	Name   string `json:"name"`
	Target struct {
		Hash    string `json:"hash"`
		Message string `json:"message"`
	} `json:"target"`
}

type cloudPull struct {
	ID          int64     `json:"id"`
	Title       string    `json:"title"`
	Source      cloudSide `json:"source"`
	Destination cloudSide `json:"destination"`
	Links       links     `json:"links"`
}

type cloudSide struct {
	Branch struct {
		Name string `json:"name"`
	} `json:"branch"`
	Commit *struct {
		Hash string `json:"hash"`
	} `json:"commit"`
	Repository *bitbucketRepo `json:"repository"` // null once the fork is deleted
}

type centerChange struct {
	Ref struct {
		ID   string `json:"id"`
		Type string `json:"type"`
	} `json:"ref"`
	FromHash string `json:"fromHash"`
	ToHash   string `json:"toHash"`
	Type     string `json:"type"` // ADD, UPDATE, DELETE
}

type centerPull struct {
	ID    int64      `json:"id"`
	Title string     `json:"title"`
	From  centerSide `json:"fromRef"`
	To    centerSide `json:"toRef"`
	Links links      `json:"links"`
}

type centerSide struct {
	ID           string         `json:"id"`
	LatestCommit string         `json:"latestCommit"`
	Repository   *bitbucketRepo `json:"repository"`
}

// Diagnostic reports whether a delivery is the test of Bitbucket Data Center,
// which is not signed. There is nothing in it.
func Diagnostic(kind Kind, h Header) bool {
	return kind == Bitbucket && h.Get("X-Event-Key") == "diagnostics:ping"
}

func readBitbucket(h Header, body []byte) (Delivery, error) {
	if Diagnostic(Bitbucket, h) {
		return Delivery{Ping: true}, nil
	}
	var p bitbucketPayload
	text, err := payload(h, body, &p)
	if err != nil {
		return Delivery{}, err
	}
	key := h.Get("X-Event-Key")
	e := Event{Kind: Bitbucket, Name: key, Repo: p.Repository.name(), URL: p.Repository.Links.url()}
	e.alias(key)
	if e.ID = h.Get("X-Request-Uuid"); e.ID == "" {
		e.ID = h.Get("X-Request-Id")
	}
	if p.Repository.MainBranch != nil {
		e.DefaultBranch = p.Repository.MainBranch.Name
	}
	for _, name := range []string{p.Actor.DisplayName, p.Actor.Name, p.Actor.Nickname} {
		if name != "" {
			e.Sender = name
		}
	}
	d := Delivery{once: idOnce(e.ID)}
	switch {
	case len(p.Push.Changes) > 0, len(p.Changes) > 0:
		e.Name = "push"
		for i := range p.Push.Changes {
			d.Events = append(d.Events, p.Push.Changes[i].event(e))
		}
		for i := range p.Changes {
			d.Events = append(d.Events, p.Changes[i].event(e, &p))
		}
		d.once = bodyOnce(text)
		return d, nil
	case p.CloudPull != nil:
		p.CloudPull.read(&e)
	case p.CenterPull != nil:
		p.CenterPull.read(&e)
	}
	p.pull(&e, key)
	if p.CloudPull != nil || p.CenterPull != nil { // whatever the key is, because it is not signed
		d.once = bodyOnce(text)
	}
	d.Events = []Event{e}
	return d, nil
}

// pull names what happened to a pull request. Keys are pullrequest:updated in
// Cloud and pr:from_ref_updated in Data Center.
func (p *bitbucketPayload) pull(e *Event, key string) {
	subject, what, _ := strings.Cut(key, ":")
	if subject != "pullrequest" && subject != "pr" {
		return
	}
	switch {
	case p.Comment != nil, strings.HasPrefix(what, "comment"):
		e.Name, e.Action = "issue_comment", strings.TrimLeft(strings.TrimPrefix(what, "comment"), "_:")
		if e.Action == "added" {
			e.Action = "created"
		}
		if p.Comment != nil {
			e.Message = p.Comment.Content.Raw + p.Comment.Text
		}
	case strings.HasPrefix(what, "reviewer"), what == "approved", what == "unapproved", strings.HasPrefix(what, "changes_request"):
		e.Name, e.Action = "pull_request_review", strings.TrimPrefix(what, "reviewer:")
	case what == "updated": // Cloud does not say whether there are new commits
		e.Name, e.Action = "pull_request", "synchronize"
	case what == "deleted":
		e.Name, e.Action = "pull_request", "closed"
	default:
		e.Name, e.Action = "pull_request", action(what)
		if e.Action == "synchronize" {
			e.Before = sha(p.FromHash)
		}
	}
}

// event returns the event of one change. Bitbucket sends no files.
func (c *cloudChange) event(e Event) Event {
	if url := c.Links.url(); url != "" {
		e.URL = url
	}
	ref := c.New
	if ref == nil {
		ref = c.Old
	}
	if ref == nil {
		return e
	}
	if ref.Type == "tag" {
		e.setRef("refs/tags/" + ref.Name)
	} else {
		e.setRef("refs/heads/" + ref.Name)
	}
	e.Created, e.Deleted = c.Old == nil, c.New == nil
	if c.Old != nil {
		e.Before = sha(c.Old.Target.Hash)
	}
	if c.New != nil {
		e.SHA = sha(c.New.Target.Hash)
		e.setHead(c.New.Target.Message)
	}
	return e
}

func (c *centerChange) event(e Event, p *bitbucketPayload) Event {
	e.setRef(c.Ref.ID)
	e.Before, e.SHA = sha(c.FromHash), sha(c.ToHash)
	e.Created, e.Deleted = c.Type == "ADD" || isZero(c.FromHash), c.Type == "DELETE" || isZero(c.ToHash)
	if p.ToCommit != nil && p.ToCommit.ID == c.ToHash {
		e.setHead(p.ToCommit.Message)
	}
	return e
}

func (p *cloudPull) read(e *Event) {
	e.Number, e.Title, e.Branch = p.ID, p.Title, p.Source.Branch.Name
	e.Ref = "refs/heads/" + e.Branch // Cloud has no ref for the pull request itself
	if url := p.Links.url(); url != "" {
		e.URL = url
	}
	if p.Source.Commit != nil {
		e.SHA = sha(p.Source.Commit.Hash)
	}
	source, destination := p.Source.Repository, p.Destination.Repository
	e.Fork = source == nil || destination == nil || source.FullName == "" || source.FullName != destination.FullName
}

func (p *centerPull) read(e *Event) {
	e.Number, e.Title, e.SHA = p.ID, p.Title, sha(p.From.LatestCommit)
	e.Ref = fmt.Sprintf("refs/pull-requests/%d/from", p.ID)
	e.Branch = strings.TrimPrefix(p.From.ID, "refs/heads/")
	if url := p.Links.url(); url != "" {
		e.URL = url
	}
	from, to := p.From.Repository, p.To.Repository
	e.Fork = from == nil || to == nil || from.name() == "" || from.name() != to.name() || from.ID != to.ID
}
