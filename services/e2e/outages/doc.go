// Package outages tests Prosa with two processes of every role, from outside, while what they stand on is gone or slow: PostgreSQL, Redis,
// the connections of a pool. Package e2e says what must hold.
package outages
