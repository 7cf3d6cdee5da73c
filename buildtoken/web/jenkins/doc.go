// Package jenkins serves as much of Jenkins' remote API as clients of triggers use.
//
// It answers paths below /queue, /job, /computer, /whoAmI and /crumbIssuer, and
// api/json and api/python at the root and below /me.
//
// What to watch out for:
//
//   - A caller without read access gets 403, for what exists and for what does not.
//   - Nothing else may follow api/json, so that a guard in front can match its paths.
//   - The order of the members of an object is part of the answer.
package jenkins
