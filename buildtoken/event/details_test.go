package event_test

import (
	"fmt"
	"testing"

	"github.com/buildtoken/buildtoken/buildtoken/event"
)

// tell writes the fields of an event that are set.
func tell(e event.Event) string {
	text := e.Name
	for _, f := range []struct{ name, value string }{
		{"action", e.Action},
		{"id", e.ID},
		{"ref", e.Ref},
		{"branch", e.Branch},
		{"tag", e.Tag},
		{"sha", e.SHA},
		{"before", e.Before},
		{"message", e.Message},
		{"title", e.Title},
		{"url", e.URL},
		{"default", e.DefaultBranch},
		{"sender", e.Sender},
	} {
		if f.value != "" {
			text += " " + f.name + "=" + f.value
		}
	}
	if e.Number != 0 {
		text += fmt.Sprint(" #", e.Number)
	}
	for _, f := range []struct {
		name  string
		value bool
	}{{"created", e.Created}, {"deleted", e.Deleted}, {"fork", e.Fork}, {"skip", e.Skip}, {"complete", e.FilesComplete}} {
		if f.value {
			text += " " + f.name
		}
	}
	return text
}

// What the samples do not have: each is a delivery with only the fields that matter.
func TestDetailsOfDeliveries(t *testing.T) {
	zeros := "0000000000000000000000000000000000000000"
	for _, tt := range []struct {
		name string
		kind event.Kind
		h    event.Header
		body string
		want string
	}{
		{
			"GitHub: a branch of create may be a full ref", event.GitHub,
			event.Header{"X-Github-Event": {"create"}},
			`{"ref": "refs/heads/a", "ref_type": "branch"}`, "create ref=refs/heads/a branch=a created",
		},
		{
			"GitLab: an event without fields of its own", event.GitLab,
			event.Header{"X-Gitlab-Event": {"Emoji Hook"}},
			`{"object_kind": "emoji", "object_attributes": {"action": "award", "id": 1}}`, "emoji action=award",
		},
		{
			"a form of an unknown sender", event.HMAC,
			event.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Idempotency-Key": {"7"}, "Ce-Type": {"push"}},
			"a=1&b=2", "push id=7",
		},
		{
			"GitHub: a tag of delete", event.GitHub,
			event.Header{"X-Github-Event": {"delete"}},
			`{"ref": "v1", "ref_type": "tag", "sha": "abc"}`, "delete ref=refs/tags/v1 tag=v1 deleted",
		},
		{
			"GitHub: a comment on a review", event.GitHub,
			event.Header{"X-Github-Event": {"pull_request_review_comment"}},
			`{"action": "created", "number": 3, "comment": {"body": "/deploy"}, "pull_request": {"head": {"ref": "a", "sha": "abc"}}}`,
			"pull_request_review_comment action=created ref=refs/pull/3/head branch=a sha=abc message=/deploy #3 fork",
		},
		{
			"GitHub: a comment on a commit", event.GitHub,
			event.Header{"X-Github-Event": {"commit_comment"}},
			`{"action": "created", "comment": {"body": "/deploy", "html_url": "http://x/1", "commit_id": "abc"}}`,
			"commit_comment action=created sha=abc message=/deploy url=http://x/1",
		},
		{
			"GitHub: a comment on an issue without an address", event.GitHub,
			event.Header{"X-Github-Event": {"issue_comment"}},
			`{"issue": {"number": 4, "title": "t", "html_url": "http://x/4"}, "comment": {"body": "b"}}`,
			"issue_comment message=b title=t url=http://x/4 #4",
		},
		{
			"GitHub: a status", event.GitHub,
			event.Header{"X-Github-Event": {"status"}},
			`{"sha": "abc", "ref": "refs/heads/a"}`, "status ref=refs/heads/a branch=a sha=abc",
		},
		{
			"GitHub: a dispatch of a branch", event.GitHub,
			event.Header{"X-Github-Event": {"repository_dispatch"}},
			`{"action": "deploy", "branch": "main", "ref": "main"}`, "repository_dispatch action=deploy ref=refs/heads/main branch=main",
		},
		{
			"GitHub: a run of an unknown repository is one of a fork", event.GitHub,
			event.Header{"X-Github-Event": {"workflow_run"}},
			`{"workflow_run": {"name": "ci", "head_branch": "a", "head_sha": "abc"}, "repository": {"full_name": "o/r"}}`,
			"workflow_run ref=refs/heads/a branch=a sha=abc title=ci fork",
		},
		{
			"GitHub: a run of the repository", event.GitHub,
			event.Header{"X-Github-Event": {"workflow_run"}},
			`{"workflow_run": {"name": "ci", "head_branch": "a", "head_sha": "abc", "head_repository": {"full_name": "o/r"}, "head_commit": {"message": "[skip ci]"}}, "repository": {"full_name": "o/r"}}`,
			"workflow_run ref=refs/heads/a branch=a sha=abc message=[skip ci] title=ci skip",
		},
		{
			"GitHub: a check without a branch is of a fork", event.GitHub,
			event.Header{"X-Github-Event": {"check_run"}},
			`{"check_run": {"name": "ci", "head_sha": "abc", "head_branch": "no", "check_suite": {}}}`, "check_run sha=abc title=ci fork",
		},
		{
			"GitHub: a push of one who is known by a name only", event.GitHub,
			event.Header{"X-Github-Event": {"push"}, "X-Github-Delivery": {"7"}},
			`{"ref": "refs/heads/a", "before": "1", "after": "2", "sender": {"username": "u"}, "compare": "http://x/c", "commits": [{"id": "2", "message": "m [ci skip]"}]}`,
			"push id=7 ref=refs/heads/a branch=a sha=2 before=1 message=m [ci skip] url=http://x/c sender=u skip complete",
		},
		{
			"GitHub: a forced push may leave commits out", event.GitHub,
			event.Header{"X-Github-Event": {"push"}},
			`{"ref": "refs/heads/a", "before": "1", "after": "2", "forced": true, "commits": [{"id": "2"}]}`,
			"push ref=refs/heads/a branch=a sha=2 before=1",
		},
		{
			"GitHub: an annotated tag has the commit of its head", event.GitHub,
			event.Header{"X-Github-Event": {"push"}},
			`{"ref": "refs/tags/v1", "before": "` + zeros + `", "after": "ffff", "head_commit": {"id": "2", "message": "m"}}`,
			"push ref=refs/tags/v1 tag=v1 sha=2 message=m created",
		},
		{
			"GitHub: a deleted branch has no message", event.GitHub,
			event.Header{"X-Github-Event": {"push"}},
			`{"ref": "refs/heads/a", "before": "1", "after": "` + zeros + `", "head_commit": {"id": "1", "message": "m"}}`,
			"push ref=refs/heads/a branch=a before=1 deleted",
		},
		{
			"GitHub: a release of a branch", event.GitHub,
			event.Header{"X-Github-Event": {"release"}},
			`{"action": "published", "release": {"tag_name": "v1", "name": "One", "target_commitish": "main"}}`,
			"release action=published ref=refs/tags/v1 tag=v1 title=One",
		},
		{
			"GitHub: a release of a commit", event.GitHub,
			event.Header{"X-Github-Event": {"release"}},
			`{"release": {"tag_name": "v1", "target_commitish": "0123456789abcdef0123456789abcdef01234567"}}`,
			"release ref=refs/tags/v1 tag=v1 sha=0123456789abcdef0123456789abcdef01234567",
		},
		{
			"Gitea: reopened", event.Gitea,
			event.Header{"X-Gitea-Event": {"pull_request"}},
			`{"action": "reopen", "pull_request": {"number": 2, "head": {"ref": "a", "repo": {"id": 1, "full_name": "o/r"}}, "base": {"repo": {"id": 1, "full_name": "o/r"}}}}`,
			"pull_request action=reopened ref=refs/pull/2/head branch=a #2",
		},
		{
			"Gitea: another repository of the same name is a fork", event.Gitea,
			event.Header{"X-Gitea-Event": {"pull_request"}},
			`{"pull_request": {"number": 2, "head": {"repo": {"id": 1, "full_name": "o/r"}}, "base": {"repo": {"id": 2, "full_name": "o/r"}}}}`,
			"pull_request ref=refs/pull/2/head #2 fork",
		},
		{
			"Gitea: a comment on a pull request", event.Gitea,
			event.Header{"X-Gitea-Event": {"issue_comment"}},
			`{"is_pull": true, "issue": {"number": 5}, "comment": {"body": "b", "html_url": "http://x/c"}}`,
			"issue_comment ref=refs/pull/5/head message=b url=http://x/c #5 fork",
		},
		{
			"Gitea: a push with all of its commits", event.Gitea,
			event.Header{"X-Gitea-Event": {"push"}},
			`{"ref": "refs/heads/a", "before": "1", "after": "2", "total_commits": 1, "compare_url": "http://x/c", "commits": [{"id": "2"}]}`,
			"push ref=refs/heads/a branch=a sha=2 before=1 url=http://x/c complete",
		},
		{
			"Gitea: a push with some of its commits", event.Gitea,
			event.Header{"X-Gitea-Event": {"push"}},
			`{"ref": "refs/heads/a", "before": "1", "after": "2", "total_commits": 2, "commits": [{"id": "2"}]}`,
			"push ref=refs/heads/a branch=a sha=2 before=1",
		},
		{
			"GitLab: a comment on an issue", event.GitLab, nil,
			`{"object_kind": "note", "object_attributes": {"action": "create", "note": "n [skip ci]", "url": "http://x/n"}, "issue": {"iid": 6, "title": "t"}}`,
			"issue_comment action=created message=n [skip ci] title=t url=http://x/n #6",
		},
		{
			"GitLab: a comment on a commit", event.GitLab, nil,
			`{"object_kind": "note", "object_attributes": {"action": "update", "note": "n"}, "commit": {"id": "abc"}}`,
			"commit_comment action=update sha=abc message=n",
		},
		{
			"GitLab: a release that was changed", event.GitLab, nil,
			`{"object_kind": "release", "action": "update", "tag": "v1", "name": "One", "url": "http://x/r", "commit": {"id": "abc"}}`,
			"release action=edited ref=refs/tags/v1 tag=v1 sha=abc title=One url=http://x/r",
		},
		{
			"GitLab: a release that was deleted", event.GitLab, nil,
			`{"object_kind": "release", "action": "delete", "tag": "v1"}`, "release action=deleted ref=refs/tags/v1 tag=v1",
		},
		{
			"GitLab: a pipeline of a merge request that is not known is one of a fork", event.GitLab, nil,
			`{"object_kind": "pipeline", "object_attributes": {"status": "success", "ref": "refs/merge-requests/7/head", "sha": "abc"}}`,
			"pipeline action=success ref=refs/merge-requests/7/head sha=abc fork",
		},
		{
			"GitLab: a pipeline of a merge request", event.GitLab, nil,
			`{"object_kind": "pipeline", "object_attributes": {"ref": "refs/merge-requests/7/head"}, "merge_request": {"iid": 7, "title": "t", "source_project_id": 1, "target_project_id": 1}, "commit": {"message": "m"}}`,
			"pipeline ref=refs/merge-requests/7/head message=m title=t #7",
		},
		{
			"GitLab: a pipeline of a merge request of another project", event.GitLab, nil,
			`{"object_kind": "pipeline", "object_attributes": {"ref": "a"}, "merge_request": {"iid": 7, "source_project_id": 1, "target_project_id": 2}}`,
			"pipeline ref=refs/heads/a branch=a #7 fork",
		},
		{
			"GitLab: a pipeline of a tag", event.GitLab, nil,
			`{"object_kind": "pipeline", "object_attributes": {"ref": "v1", "tag": true, "before_sha": "` + zeros + `"}}`, "pipeline ref=refs/tags/v1 tag=v1",
		},
		{
			"GitLab: a job of a tag", event.GitLab, nil,
			`{"object_kind": "build", "ref": "v1", "tag": true, "sha": "abc"}`, "job ref=refs/tags/v1 tag=v1 sha=abc",
		},
		{"GitLab: a job without a ref", event.GitLab, nil, `{"object_kind": "build", "sha": "abc"}`, "job sha=abc"},
		{
			"GitLab: a merge request with new commits", event.GitLab,
			event.Header{"Idempotency-Key": {"k"}},
			`{"object_kind": "merge_request", "user": {"username": "u"}, "object_attributes": {"iid": 1, "action": "update", "oldrev": "abc", "source_branch": "a", "source_project_id": 1, "target_project_id": 1, "last_commit": {"id": "def", "message": "m"}}}`,
			"pull_request action=synchronize id=k ref=refs/merge-requests/1/head branch=a sha=def before=abc message=m sender=u #1",
		},
		{
			"GitLab: a merge request with another title", event.GitLab,
			event.Header{"Webhook-Id": {"w"}, "Idempotency-Key": {"k"}},
			`{"object_kind": "merge_request", "object_attributes": {"iid": 1, "action": "update", "source_project_id": 1}}`,
			"pull_request action=edited id=w ref=refs/merge-requests/1/head #1 fork",
		},
		{
			"GitLab: a push with some of its commits", event.GitLab, nil,
			`{"object_kind": "push", "ref": "refs/heads/a", "before": "1", "after": "2", "total_commits_count": 21, "commits": [{"id": "2", "message": "m"}]}`,
			"push ref=refs/heads/a branch=a sha=2 before=1 message=m",
		},
		{
			"GitLab: a deleted branch", event.GitLab, nil,
			`{"object_kind": "push", "ref": "refs/heads/a", "before": "1", "after": "` + zeros + `", "checkout_sha": "3"}`,
			"push ref=refs/heads/a branch=a before=1 deleted",
		},
		{
			"Bitbucket: a comment", event.Bitbucket,
			event.Header{"X-Event-Key": {"pullrequest:comment_created"}},
			`{"comment": {"content": {"raw": "c"}}, "repository": {"mainbranch": {"name": "main"}}, "actor": {"display_name": "d"}}`,
			"issue_comment action=created message=c default=main sender=d",
		},
		{
			"Bitbucket Data Center: a comment", event.Bitbucket,
			event.Header{"X-Event-Key": {"pr:comment:added"}, "X-Request-Id": {"r"}},
			`{"comment": {"text": "c"}, "actor": {"name": "n", "display_name": "d"}}`, "issue_comment action=created id=r message=c sender=n",
		},
		{
			"Bitbucket: a comment that was deleted", event.Bitbucket,
			event.Header{"X-Event-Key": {"pullrequest:comment_deleted"}},
			`{}`, "issue_comment action=deleted",
		},
		{"Bitbucket: an approval", event.Bitbucket, event.Header{"X-Event-Key": {"pullrequest:approved"}}, `{}`, "pull_request_review action=approved"},
		{"Bitbucket: an approval taken back", event.Bitbucket, event.Header{"X-Event-Key": {"pullrequest:unapproved"}}, `{}`, "pull_request_review action=unapproved"},
		{
			"Bitbucket: a request for changes", event.Bitbucket,
			event.Header{"X-Event-Key": {"pullrequest:changes_request_created"}},
			`{}`, "pull_request_review action=changes_request_created",
		},
		{
			"Bitbucket Data Center: a review", event.Bitbucket,
			event.Header{"X-Event-Key": {"pr:reviewer:needs_work"}},
			`{}`, "pull_request_review action=needs_work",
		},
		{"Bitbucket Data Center: a deleted pull request", event.Bitbucket, event.Header{"X-Event-Key": {"pr:deleted"}}, `{}`, "pull_request action=closed"},
		{"Bitbucket: something else", event.Bitbucket, event.Header{"X-Event-Key": {"issue:deleted"}}, `{}`, "issue:deleted"},
		{
			"Bitbucket Data Center: new commits", event.Bitbucket,
			event.Header{"X-Event-Key": {"pr:from_ref_updated"}},
			`{"previousFromHash": "abc", "pullRequest": {"id": 2, "fromRef": {"id": "refs/heads/a", "latestCommit": "def", "repository": {"id": 1, "slug": "r", "project": {"key": "P"}}}, "toRef": {"repository": {"id": 2, "slug": "r", "project": {"key": "P"}}}}}`,
			"pull_request action=synchronize ref=refs/pull-requests/2/from branch=a sha=def before=abc #2 fork",
		},
		{
			"Bitbucket Data Center: a pull request of the repository", event.Bitbucket,
			event.Header{"X-Event-Key": {"pr:opened"}},
			`{"pullRequest": {"id": 2, "fromRef": {"repository": {"id": 1, "slug": "r", "project": {"key": "P"}}}, "toRef": {"repository": {"id": 1, "slug": "r", "project": {"key": "P"}}}}}`,
			"pull_request action=opened ref=refs/pull-requests/2/from #2",
		},
		{
			"Bitbucket Data Center: a pull request of another repository", event.Bitbucket,
			event.Header{"X-Event-Key": {"pr:opened"}},
			`{"pullRequest": {"id": 2, "fromRef": {"repository": {"id": 1, "slug": "a", "project": {"key": "P"}}}, "toRef": {"repository": {"id": 1, "slug": "r", "project": {"key": "P"}}}}}`,
			"pull_request action=opened ref=refs/pull-requests/2/from #2 fork",
		},
		{
			"Bitbucket Data Center: a pull request of a repository without a name", event.Bitbucket,
			event.Header{"X-Event-Key": {"pr:opened"}},
			`{"pullRequest": {"id": 2, "fromRef": {"repository": {"id": 1, "slug": "", "project": {"key": "P"}}}, "toRef": {"repository": {"id": 1, "slug": "", "project": {"key": "P"}}}}}`,
			"pull_request action=opened ref=refs/pull-requests/2/from #2 fork",
		},
		{
			"Bitbucket Data Center: a pull request of a repository that is gone", event.Bitbucket,
			event.Header{"X-Event-Key": {"pr:opened"}},
			`{"pullRequest": {"id": 2, "fromRef": {}, "toRef": {"repository": {"id": 1, "slug": "r", "project": {"key": "P"}}}}}`,
			"pull_request action=opened ref=refs/pull-requests/2/from #2 fork",
		},
		{
			"Bitbucket Data Center: a pull request to a repository that is gone", event.Bitbucket,
			event.Header{"X-Event-Key": {"pr:opened"}},
			`{"pullRequest": {"id": 2, "fromRef": {"repository": {"id": 1, "slug": "r", "project": {"key": "P"}}}, "toRef": {}}}`,
			"pull_request action=opened ref=refs/pull-requests/2/from #2 fork",
		},
		{
			"Bitbucket: a pull request of the repository", event.Bitbucket,
			event.Header{"X-Event-Key": {"pullrequest:created"}},
			`{"pullrequest": {"id": 2, "source": {"branch": {"name": "a"}, "repository": {"full_name": "o/r"}}, "destination": {"branch": {"name": "main"}, "repository": {"full_name": "o/r"}}}}`,
			"pull_request action=opened ref=refs/heads/a branch=a #2",
		},
		{
			"Bitbucket: a pull request of another repository", event.Bitbucket,
			event.Header{"X-Event-Key": {"pullrequest:created"}},
			`{"pullrequest": {"id": 2, "source": {"branch": {"name": "a"}, "repository": {"full_name": "x/r"}}, "destination": {"branch": {"name": "main"}, "repository": {"full_name": "o/r"}}}}`,
			"pull_request action=opened ref=refs/heads/a branch=a #2 fork",
		},
		{
			"Bitbucket: a pull request of a repository without a name", event.Bitbucket,
			event.Header{"X-Event-Key": {"pullrequest:created"}},
			`{"pullrequest": {"id": 2, "source": {"branch": {"name": "a"}, "repository": {"full_name": ""}}, "destination": {"branch": {"name": "main"}, "repository": {"full_name": ""}}}}`,
			"pull_request action=opened ref=refs/heads/a branch=a #2 fork",
		},
		{
			"Bitbucket: a pull request of a repository that is gone", event.Bitbucket,
			event.Header{"X-Event-Key": {"pullrequest:created"}},
			`{"pullrequest": {"id": 2, "source": {"branch": {"name": "a"}}, "destination": {"branch": {"name": "main"}, "repository": {"full_name": "o/r"}}}}`,
			"pull_request action=opened ref=refs/heads/a branch=a #2 fork",
		},
		{
			"Bitbucket: a pull request to a repository that is gone", event.Bitbucket,
			event.Header{"X-Event-Key": {"pullrequest:created"}},
			`{"pullrequest": {"id": 2, "source": {"branch": {"name": "a"}, "repository": {"full_name": "o/r"}}, "destination": {"branch": {"name": "main"}}}}`,
			"pull_request action=opened ref=refs/heads/a branch=a #2 fork",
		},
		{
			"Bitbucket: one change", event.Bitbucket,
			event.Header{"X-Event-Key": {"repo:push"}},
			`{"push": {"changes": [{"new": {"type": "branch", "name": "a", "target": {"hash": "2", "message": "m"}}, "old": null}]}}`,
			"push ref=refs/heads/a branch=a sha=2 message=m created",
		},
		{
			"Bitbucket: a tag that is gone", event.Bitbucket,
			event.Header{"X-Event-Key": {"repo:push"}},
			`{"push": {"changes": [{"new": null, "old": {"type": "tag", "name": "v1", "target": {"hash": "1"}}}]}}`,
			"push ref=refs/tags/v1 tag=v1 before=1 deleted",
		},
		{
			"Bitbucket Data Center: one change", event.Bitbucket,
			event.Header{"X-Event-Key": {"repo:refs_changed"}},
			`{"changes": [{"ref": {"id": "refs/heads/a"}, "fromHash": "1", "toHash": "2", "type": "UPDATE"}], "toCommit": {"id": "2", "message": "m"}}`,
			"push ref=refs/heads/a branch=a sha=2 before=1 message=m",
		},
		{
			"Bitbucket Data Center: a new branch", event.Bitbucket,
			event.Header{"X-Event-Key": {"repo:refs_changed"}},
			`{"changes": [{"ref": {"id": "refs/heads/a"}, "fromHash": "` + zeros + `", "toHash": "2", "type": "ADD"}], "toCommit": {"id": "3", "message": "m"}}`,
			"push ref=refs/heads/a branch=a sha=2 created",
		},
		{
			"Bitbucket Data Center: a branch that is gone", event.Bitbucket,
			event.Header{"X-Event-Key": {"repo:refs_changed"}},
			`{"changes": [{"ref": {"id": "refs/heads/a"}, "fromHash": "1", "toHash": "` + zeros + `", "type": "DELETE"}]}`,
			"push ref=refs/heads/a branch=a before=1 deleted",
		},
		{"another sender: its key", event.Token, event.Header{"Idempotency-Key": {"k"}, "Ce-Id": {"c"}}, `{"type": "t", "event": "e"}`, "t id=k"},
		{"CloudEvents in headers", event.Token, event.Header{"Ce-Id": {"c"}, "Ce-Source": {"s"}, "Ce-Type": {"t"}}, ``, "t id=s c"},
		{"CloudEvents in the body", event.Token, event.Header{"Content-Type": {"application/cloudevents+json"}}, `{"type": "t", "id": "c", "source": "s"}`, "t id=s c"},
		{"an ID of anything is none of the delivery", event.Token, nil, `{"type": "t", "id": "c", "source": "s"}`, "t"},
		{"Azure DevOps", event.Token, nil, `{"eventType": "git.push", "id": "7"}`, "git.push id=7"},
		{"Alertmanager", event.Token, nil, `{"groupKey": "g", "status": "firing"}`, "firing"},
		{"a status of anything is no name", event.Token, nil, `{"status": "firing"}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, err := event.Read(tt.kind, tt.h, []byte(tt.body))
			if err != nil || len(d.Events) != 1 {
				t.Fatalf("Read = %v, %v, want one event", d, err)
			}
			if got := tell(d.Events[0]); got != tt.want {
				t.Errorf("Read =\n%s, want\n%s", got, tt.want)
			}
		})
	}
}
