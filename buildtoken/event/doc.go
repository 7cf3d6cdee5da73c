// Package event reads what a webhook delivery is about. [Read] turns the headers
// and the body of a delivery into one or more values of type [Event], which has
// the same fields and words for every forge.
//
// Read does not verify anything: package hook does, and only a verified delivery
// should be read.
//
// What to watch out for:
//
//   - Names and actions are GitHub's, whatever the forge calls them: a merge request is a
//     pull_request, and one with new commits has the action synchronize.
//     [Event.Is] also knows the sender's own names.
//   - A SHA of zeros, which forges send for "none", is "".
//   - Where a field is not known, the value is the one that does less harm:
//     Fork is true, FilesComplete is false.
//   - GitLab, Gitea and Bitbucket do not report that a branch was forced, so a
//     complete list of files there misses those of the commits that were dropped.
package event
