// Package triggers serves the callers that have a token and no account: triggers at
// /buildByToken and at a job's own URL, and access to the builds of a token.
//
// What to watch out for:
//
//   - The order in which a trigger is checked decides what a caller without a token
//     learns. The first checks are in [Serve] and below it, the rest in
//     buildtoken.Controller.Trigger; the documents and tests show them as one table.
//   - No body larger than 1 MiB is read before a token outside of it was found right.
package triggers
