// Package web is shared by the triggers, Jenkins' remote API and the HTML pages of a
// site. It defines how a path, a caller, a form and an Accept header are read, how URLs
// are built, which status and message an error gets, why a queued item waits, how
// events are streamed, and how long a slow client may take.
//
// A program creates one [Site] and wraps each request in a [Request]:
//
//	q := site.Request(w, r)
//	handled := hooks.Serve(q) || triggers.Serve(q) || html.Serve(q) || jenkins.Serve(q)
//
// where html is a *pages.Pages. The order counts where two know the same URL: triggers answers
// /queue/item/N for a share link, pages for a browser, and jenkins for all others. Each Serve
// that handles the request calls [Request.Begin] first; until then, [Request.W] is nil.
//
// What to watch out for:
//
//   - The prefix under which the site is mounted must already be removed from the path of
//     a request.
//   - Paths are split before they are unescaped, so %2F never separates folders.
//     A path with a segment "." or ".." belongs to no handler here.
//   - [VerdictOf] maps errors to statuses and messages. An error that it does not list is a
//     500 whose text goes to the log. Two handlers choose a status themselves: package
//     hooks combines the outcomes of several jobs, and package pages answers 400 with the
//     form of a build that was filled in wrongly.
//   - A body is read once, by [Request.ReadForm] or [Request.ReadRaw]. The caller must
//     close the [Form] unless there was an error, and the [Raw] in any case.
package web
