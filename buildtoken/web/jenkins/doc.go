// Package jenkins is the HTTP face of buildtoken: triggers for whoever has a
// token, what a token lets its holder see of its own builds, and as much of
// Jenkins' remote API as trigger clients use.
//
// [API.Serve] looks at a path. What is ours it answers completely, errors
// too; the rest it leaves to the next handler. Ours are /buildByToken, /queue,
// /job, /whoAmI and /crumbIssuer with all below, and api/json and api/python at
// the root and under /me.
//
// What will bite you:
//
//   - The order in which a trigger is checked decides what a stranger learns.
//     The first steps stand here in [API.Serve]'s triggers, the rest in
//     buildtoken.Controller.Trigger; docs and tests show it as one table.
//   - Only status.go knows which error is which status, and its text. An error
//     that it does not know is a 500 whose text stays in the log.
//   - Whoever may not read gets 403, for what exists and for what does not.
//   - Paths are split before they are unescaped, so that %2F never makes a folder.
//   - Requests must come with the prefix, under which the API is mounted,
//     already cut off.
package jenkins
