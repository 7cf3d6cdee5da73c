package event

import (
	"maps"
	"slices"
	"strings"
)

// Event is one thing that happened at a sender. Fields that do not apply, or that
// the sender does not send, are zero.
type Event struct {
	Kind   Kind   `json:"kind,omitempty"`
	Name   string `json:"name,omitempty"`   // push, pull_request, release, …; for other senders their type of event
	Action string `json:"action,omitempty"` // opened, synchronize, reopened, closed, …
	ID     string `json:"id,omitempty"`     // the sender's ID of the delivery
	Repo   string `json:"repo,omitempty"`   // the full name: owner/name
	Ref    string `json:"ref,omitempty"`    // refs/heads/main, refs/tags/v1, refs/pull/7/head
	Branch string `json:"branch,omitempty"` // of a pull request: the branch it comes from
	Tag    string `json:"tag,omitempty"`
	SHA    string `json:"sha,omitempty"`    // the commit to build
	Before string `json:"before,omitempty"` // the commit that the ref had before; "" if it is new
	Sender string `json:"sender,omitempty"` // the login of the user who caused it
	// Message is the message of the head commit, or the text of a comment or command.
	Message string `json:"message,omitempty"`
	Created bool   `json:"created,omitempty"` // the ref is new
	Deleted bool   `json:"deleted,omitempty"` // the ref is gone
	// Fork reports whether the code comes from another repository than Repo, or may do so.
	Fork          bool   `json:"fork,omitempty"`
	DefaultBranch string `json:"default_branch,omitempty"`
	// Files are the paths that the commits of a push added, changed or removed,
	// sorted. FilesComplete reports whether they are all.
	Files         []string `json:"files,omitempty"`
	FilesComplete bool     `json:"files_complete,omitempty"`
	Number        int64    `json:"number,omitempty"` // of the pull request or issue
	Title         string   `json:"title,omitempty"`
	URL           string   `json:"url,omitempty"` // for people

	// Skip reports whether the message of the head commit requests that it is not built.
	Skip bool `json:"skip,omitempty"`
	// aliases are more names of the event, in lower case.
	aliases []string
}

// Is reports whether a name is one of the event's: Name, or one that the sender
// uses for it, as "Merge Request Hook". Case does not count.
func (e *Event) Is(name string) bool {
	name = strings.ToLower(name)
	return name == strings.ToLower(e.Name) || slices.Contains(e.aliases, name)
}

// alias adds names under which the event is also known.
func (e *Event) alias(names ...string) {
	for _, name := range names {
		if name = strings.ToLower(name); name != "" && !slices.Contains(e.aliases, name) {
			e.aliases = append(e.aliases, name)
		}
	}
}

// setRef sets Ref, and Branch or Tag from it.
func (e *Event) setRef(ref string) {
	e.Ref = ref
	if branch, ok := strings.CutPrefix(ref, "refs/heads/"); ok {
		e.Branch = branch
	}
	if tag, ok := strings.CutPrefix(ref, "refs/tags/"); ok {
		e.Tag = tag
	}
}

// setHead sets Message to that of the head commit, and Skip accordingly.
func (e *Event) setHead(message string) {
	e.Message = message
	lower := strings.ToLower(message)
	e.Skip = strings.Contains(lower, "[skip ci]") || strings.Contains(lower, "[ci skip]")
}

// setFiles lists the files of the commits.
func (e *Event) setFiles(commits []commit, complete bool) {
	seen := map[string]bool{}
	for i := range commits {
		c := &commits[i]
		for _, list := range [][]string{c.Added, c.Modified, c.Removed} {
			for _, file := range list {
				seen[file] = true
			}
		}
	}
	e.Files = slices.Sorted(maps.Keys(seen))
	e.FilesComplete = complete && len(commits) > 0
}

// commit is a commit of a push, as GitHub, GitLab and Gitea send it.
type commit struct {
	ID       string   `json:"id"`
	Message  string   `json:"message"`
	Added    []string `json:"added"`
	Modified []string `json:"modified"`
	Removed  []string `json:"removed"`
}

// messageOf returns the message of the commit with this ID.
func messageOf(commits []commit, id string) string {
	at := slices.IndexFunc(commits, func(c commit) bool { return c.ID == id })
	if at < 0 {
		return ""
	}
	return commits[at].Message
}

// sha is a commit's ID as forges send it: "" if it is all zeros.
func sha(id string) string {
	if strings.Trim(id, "0") == "" {
		return ""
	}
	return id
}

// isZero reports whether a forge sent zeros for a commit that does not exist.
func isZero(id string) bool { return id != "" && sha(id) == "" }

// action translates what GitLab, Gitea and Bitbucket call the actions on pull
// requests into the words of GitHub.
func action(word string) string {
	switch word {
	case "open", "created":
		return "opened"
	case "reopen":
		return "reopened"
	case "synchronized", "from_ref_updated":
		return "synchronize"
	case "update", "modified":
		return "edited"
	case "close", "merge", "fulfilled", "rejected", "merged", "declined":
		return "closed"
	}
	return word
}
