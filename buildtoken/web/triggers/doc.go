// Package triggers serves the callers that have a token and no account: triggers at
// /buildByToken and at a job's own URL, and access to the builds of a token.
//
// What to watch out for:
//
//   - The order in which a trigger is checked decides what a caller without a token
//     learns. The first checks are in [Serve] and below it, the rest in
//     buildtoken.Controller.Trigger; the documents and tests show them as one table.
//   - A form of more than 1 MiB is kept only if a right token stands outside of it, or if the
//     access rules allow the caller to start the job. Other bodies are discarded as they arrive.
package triggers
