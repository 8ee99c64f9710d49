// Package storetest is the contract of the agent store: what must hold on every engine.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/prosa-chat/prosa/services/agent/internal/store"
	"github.com/prosa-chat/prosa/services/internal/sqldb"
)

// start is a moment with microseconds, which the store must keep.
var start = time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)

// Run runs the contract against stores that open makes: each call a new and empty one.
func Run(t *testing.T, open func(t *testing.T) *sqldb.DB) {
	for name, test := range map[string]func(t *testing.T, f *fixture){
		"AgentIsKeptAsGiven":              agentIsKeptAsGiven,
		"AgentNumbersAreNeverUsedAgain":   agentNumbersAreNeverUsedAgain,
		"AgentsAreListedOldestFirst":      agentsAreListedOldestFirst,
		"AgentsStayInsideTheirInstance":   agentsStayInsideTheirInstance,
		"UpdateTouchesNamedFieldsOnly":    updateTouchesNamedFieldsOnly,
		"PublishMakesNewVersions":         publishMakesNewVersions,
		"ConcurrentPublicationsAreApart":  concurrentPublicationsAreApart,
		"DeletedAgentIsGone":              deletedAgentIsGone,
		"FailedCreateLeavesNothing":       failedCreateLeavesNothing,
		"PositionOfAnUnknownAgent":        positionOfAnUnknownAgent,
		"TurnIsKeptAsGiven":               turnIsKeptAsGiven,
		"SecondTurnGoesOn":                secondTurnGoesOn,
		"TurnIsCommittedOnce":             turnIsCommittedOnce,
		"OvertakenTurnIsRefused":          overtakenTurnIsRefused,
		"OneOpenConversationALane":        oneOpenConversationALane,
		"FinishedConversationIsNotFound":  finishedConversationIsNotFound,
		"FinishedConversationTakesNoTurn": finishedConversationTakesNoTurn,
		"IdleConversationEnds":            idleConversationEnds,
		"MovedConversationIsNotIdle":      movedConversationIsNotIdle,
		"SilentConversationsAreFound":     silentConversationsAreFound,
		"SilentConversationsEndOnce":      silentConversationsEndOnce,
		"InstancesWithOpenConversations":  instancesWithOpenConversations,
		"HandoffRaisesTheEpoch":           handoffRaisesTheEpoch,
		"AttendedIsFoundByItsNumber":      attendedIsFoundByItsNumber,
		"HandedBackConversation":          handedBackConversationIsTheAgents,
		"FinishedByPeople":                finishedByPeople,
		"UndoneFinishLeavesNothing":       undoneFinishLeavesNothing,
		"ReplyIsATurn":                    replyIsATurn,
		"LateRepliesComeAfterTheEnd":      lateRepliesComeAfterTheEnd,
		"RepliesAtOnceAreAllKept":         repliesAtOnceAreAllKept,
		"LanesAreApart":                   lanesAreApart,
		"TurnsAreAChain":                  turnsAreAChain,
		"ConcurrentTurnsOfAConversation":  concurrentTurnsOfAConversation,
		"ManyTurnsAtOnce":                 manyTurnsAtOnce,
		"AfterIsWhatPositionGives":        afterIsWhatPositionGives,
		"RecordsComeInOrder":              recordsComeInOrder,
		"TurnsAreReadByID":                turnsAreReadByID,
		"RecordsAreCountedUpToALimit":     recordsAreCountedUpToALimit,
		"TheOldestThatWaitsIsKnown":       theOldestThatWaitsIsKnown,
		"RecordsAreDeletedUnderTheLease":  recordsAreDeletedUnderTheLease,
		"RecordIsPostponed":               recordIsPostponed,
		"RecordIsRefused":                 recordIsRefused,
		"LeaseHasOneHolder":               leaseHasOneHolder,
		"LeaseGivenBackIsFree":            leaseGivenBackIsFree,
		"SecretIsKeptAsGiven":             secretIsKeptAsGiven,
		"SecretsAreListedByName":          secretsAreListedByName,
		"SecretsStayInsideTheirInstance":  secretsStayInsideTheirInstance,
		"SecretsHaveALimit":               secretsHaveALimit,
		"SecretsAtOnceKeepTheLimit":       secretsAtOnceKeepTheLimit,
		"VersionsAreListedNewestFirst":    versionsAreListedNewestFirst,
		"OldConversationsAreDeleted":      oldConversationsAreDeleted,
		"ErasedPersonIsGone":              erasedPersonIsGone,
		"ErasureRefusesLateTurns":         erasureRefusesLateTurns,
		"ChatsOfErasedSayNothing":         chatsOfErasedSayNothing,
		"KeysOfErasedAreForgotten":        keysOfErasedAreForgotten,
		"OpeningsWhileErasing":            openingsWhileErasing,
		"ChatIsKeptAsGiven":               chatIsKeptAsGiven,
		"ConversationsShowWhatHappened":   conversationsShowWhatHappened,
		"ConversationsNewestFirst":        conversationsAreListedNewestFirst,
		"WalksAreStable":                  walksAreStable,
		"MetadataIsChangedInTurn":         metadataIsChangedOneAfterTheOther,
		"FeedbackIsTheLastWord":           feedbackIsTheLastWord,
		"ChainLeadsBack":                  chainLeadsBack,
		"TextsAreFound":                   textsAreFound,
		"SearchesAreJoined":               searchesAreJoined,
		"MetadataIsFound":                 metadataIsFound,
		"UnindexedTurnsAreGiven":          unindexedTurnsAreGiven,
		"IndexingIsRepeatable":            indexingIsRepeatable,
		"WhatIsReplacedTakesNothingElse":  whatIsReplacedTakesNothingElse,
		"ErasedConversationsAreNotFound":  erasedConversationsAreNotFound,
		"ErasedTurnsStayOut":              erasedTurnsStayOut,
		"LongTextsAreFound":               longTextsAreFound,
		"LongConversationsLeaveTheIndex":  longConversationsLeaveTheIndex,
		"ChatTargets":                     chatTargets,
		"ChatMessagesQueue":               chatMessagesQueue,
		"ChatMessagesAtOnce":              chatMessagesAtOnce,
		"ChatStates":                      chatStates,
		"ChatMessagesAreTakenOver":        chatMessagesAreTakenOver,
		"ChatTurnsAreStopped":             chatTurnsAreStopped,
		"ClosedStoreIsUnavailable":        closedStoreIsUnavailable,
	} {
		t.Run(name, func(t *testing.T) {
			db := open(t)
			test(t, &fixture{db: db, store: store.New(db)})
		})
	}
}

type fixture struct {
	db    *sqldb.DB
	store *store.Store
}

func version(text string) store.Version {
	return store.Version{
		Format: store.FormatYAML, Source: []byte("source " + text), Definition: []byte("definition " + text),
		DisplayName: "Definição " + text, Description: "Descrição " + text,
	}
}

func (f *fixture) createAgent(t *testing.T, instance, id string) *store.Agent {
	t.Helper()
	created, err := f.tryAgent(t.Context(), store.Agent{Instance: instance, ID: id, CreateTime: start}, version("1"))
	require.NoError(t, err)
	return created
}

func (f *fixture) tryAgent(ctx context.Context, a store.Agent, v store.Version) (*store.Agent, error) {
	var created *store.Agent
	err := f.store.Write(ctx, func(ctx context.Context, tx sqldb.Tx) error {
		var err error
		created, err = f.store.CreateAgent(ctx, tx, a, v)
		return err
	})
	return created, err
}

// count counts rows, for what the store's own methods do not show.
func (f *fixture) count(t *testing.T, query string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, f.db.Reader().QueryRowContext(t.Context(), query, args...).Scan(&n))
	return n
}

func closedStoreIsUnavailable(t *testing.T, f *fixture) {
	require.NoError(t, f.db.Close())
	_, err := f.store.ListAgents(t.Context(), "acme", 0, 1)
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	_, err = f.store.PendingRecords(t.Context(), store.RecordKey{}, 1)
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
	require.ErrorIs(t, f.store.CommitTurn(t.Context(), openingTurn("acme", "a1", "m1", "c1")), sqldb.ErrUnavailable)
	_, _, err = f.store.TakeLease(t.Context(), "recorder", "h", start, start.Add(time.Minute))
	require.ErrorIs(t, err, sqldb.ErrUnavailable)
}
