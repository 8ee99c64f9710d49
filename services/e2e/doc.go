// Package e2e tests Prosa from outside: the real binary, its REST and gRPC
// surfaces, both stores, and the faults that it must survive.
package e2e
