// Package pages serves the HTML pages of a site: jobs, the queue, builds with their live
// consoles, and executors, at the URLs of the remote API, and the forms that start, cancel
// and stop builds.
//
// [Pages.Serve] answers a request if it is for people: GET of a page by a client that
// prefers text/html, the forms of pages, and what pages need (assets, event streams, parts
// of logs), badges and feeds. It leaves everything else alone, so that it can stand in
// front of the remote API.
//
// Every page works without JavaScript. With it, a page is updated live: one event stream
// per page sends the regions that have changed, and the new lines of the log. Both are made
// from the same templates and by the same access checks as the page itself, which are
// repeated for each change. Only the server renders logs.
//
// What to watch out for:
//
//   - Forms are protected against other sites by [net/http.CrossOriginProtection], from
//     what the browser sends about their origin. There is no token and no state. A client
//     that is no browser sends nothing and is let through, since it holds its credentials
//     itself.
//   - The policy in headers.go allows no inline script and no style attribute. Templates
//     must not use any.
//   - A region is sent again whenever its HTML differs, so it must follow from facts,
//     never from the time of rendering. The script counts running durations.
//   - Links contain only the path of the root, so that a site can be reached under several
//     names.
package pages
