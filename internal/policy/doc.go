// Package policy holds tests of the rules that no linter checks: every package has a doc comment,
// files stay small, modules are used as published, documents name only existing metrics, files and
// tests, and user-visible text is plain English.
package policy
