// Package pages shows people what the remote API shows to machines: jobs, the
// queue, builds with their live consoles, and executors, as HTML at the same
// URLs; and it has the forms with which they start, cancel and stop builds.
//
// [Pages.Serve] looks at a request and answers it if it is for people: GET of
// a page by who prefers text/html, the forms of pages, and what pages need
// (assets, event streams, parts of logs), badges and feeds. Everything else it
// leaves alone, so that it can stand in front of the remote API.
//
// Every page works without JavaScript. With it, a page follows what happens:
// one event stream per page brings the regions of it that have changed, and
// the bytes of the log. Both come from the same templates and the same access
// checks as the page itself, which are made again for each change.
//
// What will bite you:
//
//   - Forms are protected against other sites by [net/http.CrossOriginProtection]:
//     the browser says where a request comes from. There is no token and no
//     state. A client that is no browser says nothing and is let through, as it
//     holds its credentials itself.
//   - The policy in headers.go allows no inline script and no style attribute.
//     Templates must not use any.
//   - A region is replaced as a whole whenever its HTML differs, so what stands
//     in it must follow from facts, never from the time of rendering.
//     Durations that go on are counted by the script.
//   - Links are made of the path of the root, so that a site may be reached
//     under several names.
package pages
