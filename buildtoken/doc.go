// Package buildtoken starts builds for whoever shows the right token.
//
// A [Definition] is a compiled job tree: names, tokens, rules, what to run. A
// [Controller] takes triggers, decides who may, puts accepted ones on disk,
// runs them when they are due, and keeps their logs. It lives longer than a
// configuration: [Controller.Attach] puts a new one into force without
// touching what is queued or running.
//
// The order in which a trigger is checked, and what its caller learns, is that
// of [Controller.Trigger]. What HTTP makes of it is that of the packages in web.
//
// What will bite you:
//
//   - Builds run as the user of this process unless their runner says
//     otherwise, and may do what it may.
//   - A build that runs while the process is killed is recorded ABORTED at the
//     next start. It is never run again by itself.
//   - The SealKey of [Options] opens password parameters of queued builds. If
//     it is lost, those builds end NOT_BUILT.
package buildtoken
