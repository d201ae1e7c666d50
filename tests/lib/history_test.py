#!/usr/bin/env python3
"""The judges of history.py bite: hand-made histories, each with one thing wrong, next to one with nothing wrong.

    python tests/lib/history_test.py
"""

import itertools
import os
import random
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import history  # noqa: E402
from history import (DONE, REFUSED, UNKNOWN, Add, Ephemeral, Operation, Pair, add_complaints, ephemeral_complaints,  # noqa: E402
                     linearise, order_complaints, pair_complaints, register_complaints, register_step)

START = (0, b"")


def op(kind, invoked, completed, value, version=None, *, expected=None, outcome=DONE, key="k", session=1, zxid=None, mzxid=None):
    return Operation(worker=0, session=session, kind=kind, key=key, invoked=invoked, completed=completed, value=value,
                     version=version, expected=expected, outcome=outcome, zxid=zxid, mzxid=mzxid)


def lost(kind, invoked, value, expected=None):
    return op(kind, invoked, history.NEVER, value, expected=expected, outcome=UNKNOWN)


def judge(*operations):
    return register_complaints(list(operations), {"k": START})


class Registers(unittest.TestCase):
    def test_sequential(self):
        self.assertEqual(judge(op("write", 0, 1, b"a", 1), op("sure read", 2, 3, b"a", 1),
                               op("cas", 4, 5, b"b", 2, expected=1), op("sure read", 6, 7, b"b", 2)), [])

    def test_stale_read(self):
        self.assertTrue(judge(op("write", 0, 1, b"a", 1), op("sure read", 2, 3, b"", 0)))

    def test_plain_reads_may_be_stale(self):
        self.assertEqual(judge(op("write", 0, 1, b"a", 1), op("read", 2, 3, b"", 0)), [])

    def test_concurrent_read_may_see_either(self):
        for value, version in ((b"", 0), (b"a", 1)):
            self.assertEqual(judge(op("write", 0, 10, b"a", 1), op("sure read", 2, 3, value, version)), [])

    def test_two_reads_that_disagree_on_the_order(self):
        self.assertTrue(judge(op("write", 0, 10, b"a", 1), op("sure read", 2, 3, b"a", 1), op("sure read", 4, 5, b"", 0)))

    def test_lost_update(self):
        # Two compare-and-sets of one version have both succeeded.
        self.assertTrue(judge(op("cas", 0, 10, b"a", 1, expected=0), op("cas", 0, 10, b"b", 1, expected=0)))

    def test_acknowledged_write_that_vanished(self):
        self.assertTrue(judge(op("write", 0, 1, b"a", 1), op("write", 2, 3, b"b", 1)))

    def test_refused_cas(self):
        self.assertEqual(judge(op("write", 0, 1, b"a", 1), op("cas", 2, 3, b"b", expected=0, outcome=REFUSED)), [])
        self.assertTrue(judge(op("write", 0, 1, b"a", 1), op("cas", 2, 3, b"b", expected=1, outcome=REFUSED)))

    def test_a_lost_answer_may_have_taken_effect_at_once_late_or_never(self):
        self.assertEqual(judge(lost("write", 0, b"x"), op("sure read", 2, 3, b"x", 1)), [])
        self.assertEqual(judge(lost("write", 0, b"x"), op("sure read", 2, 3, b"", 0)), [])
        self.assertEqual(judge(lost("write", 0, b"x"), op("sure read", 2, 3, b"", 0), op("sure read", 4, 5, b"x", 1)), [])

    def test_a_lost_answer_cannot_take_effect_twice_or_before_it_was_asked(self):
        self.assertTrue(judge(lost("write", 0, b"x"), op("sure read", 2, 3, b"x", 1), op("write", 4, 5, b"y", 2),
                              op("sure read", 6, 7, b"x", 3)))
        self.assertTrue(judge(op("sure read", 0, 1, b"x", 1), lost("write", 2, b"x")))

    def test_a_lost_cas_that_did_not_match(self):
        self.assertEqual(judge(op("write", 0, 1, b"a", 1), lost("cas", 2, b"x", expected=0), op("sure read", 4, 5, b"a", 1)), [])
        self.assertTrue(judge(op("write", 0, 1, b"a", 1), lost("cas", 2, b"x", expected=0), op("sure read", 4, 5, b"x", 2)))

    def test_a_version_that_someone_unseen_has_made(self):
        self.assertEqual(judge(lost("write", 0, b"x"), op("write", 2, 3, b"b", 2)), [])
        self.assertTrue(judge(op("write", 2, 3, b"b", 2)))

    def test_many_lost_answers_are_decided_quickly(self):
        operations, version = [], 0
        for number in range(400):
            if number % 10 == 0:
                operations.append(lost("write", number, b"lost %d" % number))
                version += number % 20 == 0
            version += 1
            operations.append(op("write", number + 0.1, number + 0.2, b"%d" % number, version))
        self.assertEqual(judge(*operations), [])
        self.assertTrue(judge(*operations, op("sure read", 1000, 1001, b"5", 6)))

    def test_the_search_agrees_with_trying_all_orders(self):
        verdicts = set()
        for seed in range(1500):
            chance = random.Random(seed)
            operations = []
            for number in range(5):
                invoked = chance.randrange(8)
                kind = chance.choice(("write", "cas", "sure read"))
                outcome = chance.choice((DONE, DONE, REFUSED if kind == "cas" else DONE, UNKNOWN))
                if kind == "sure read":
                    outcome = DONE
                value = b"%d" % (number if kind != "sure read" else chance.randrange(5))
                operations.append(op(kind, invoked + chance.random(), 10 + chance.randrange(3) if outcome == UNKNOWN else
                                     invoked + 1 + 3 * chance.random(), value, chance.randrange(1, 3),
                                     expected=chance.randrange(2), outcome=outcome))
            fine = linearise(operations, START) is None
            self.assertEqual(fine, brute_force(operations), f"seed {seed}: {operations}")
            verdicts.add(fine)
        self.assertEqual(verdicts, {True, False})


def brute_force(operations):
    surely = [o for o in operations if o.outcome != UNKNOWN]
    perhaps = [o for o in operations if o.outcome == UNKNOWN]
    for count in range(len(perhaps) + 1):
        for some in itertools.combinations(perhaps, count):
            for order in itertools.permutations([*surely, *some]):
                ended = [o.completed if o.outcome != UNKNOWN else history.NEVER for o in order]
                if any(ended[later] < order[at].invoked for at in range(len(order)) for later in range(at + 1, len(order))):
                    continue
                state = START
                for operation in order:
                    state = register_step(state, operation)
                    if state is None:
                        break
                if state is not None:
                    return True
    return False


class Orders(unittest.TestCase):
    def good(self):
        return [op("write", 0, 1, b"a", 1, zxid=11, mzxid=11), op("read", 2, 3, b"a", 1, zxid=12, mzxid=11),
                op("write", 2, 3, b"b", 2, session=2, zxid=13, mzxid=13), op("read", 4, 5, b"a", 1, zxid=12, mzxid=11),
                op("read", 6, 7, b"b", 2, zxid=13, mzxid=13)]

    def test_good(self):
        self.assertEqual(order_complaints(self.good()), [])

    def test_zxid_goes_back(self):
        self.assertTrue(order_complaints([*self.good(), op("read", 8, 9, b"b", 2, key="other", zxid=12, mzxid=5)]))

    def test_version_goes_back(self):
        self.assertTrue(order_complaints([*self.good(), op("read", 8, 9, b"a", 1, zxid=14, mzxid=11)]))

    def test_two_values_of_one_version(self):
        self.assertTrue(order_complaints([*self.good(), op("read", 8, 9, b"z", 2, session=3, zxid=14, mzxid=13)]))
        self.assertTrue(order_complaints([*self.good(), op("read", 8, 9, b"b", 2, session=3, zxid=14, mzxid=12)]))

    def test_newer_version_with_older_zxid(self):
        self.assertTrue(order_complaints([*self.good(), op("read", 8, 9, b"c", 3, session=3, zxid=14, mzxid=12)]))

    def test_a_session_that_has_seen_more_reads_an_old_state_of_another_key(self):
        bad = [op("write", 0, 1, b"a", 1, session=2, zxid=11, mzxid=11), op("write", 0, 1, b"b", 2, session=2, zxid=12, mzxid=12),
               op("write", 2, 3, b"x", 1, key="other", zxid=13, mzxid=13), op("read", 4, 5, b"a", 1, zxid=13, mzxid=11)]
        self.assertTrue(order_complaints(bad))
        self.assertEqual(order_complaints(bad[:3] + [op("read", 4, 5, b"b", 2, zxid=13, mzxid=12)]), [])

    def test_data_newer_than_the_answer(self):
        self.assertTrue(order_complaints([op("read", 0, 1, b"a", 1, zxid=10, mzxid=11)]))


def stat(czxid=1, owner=0):
    return {"czxid": czxid, "ephemeralOwner": owner}


class Ends(unittest.TestCase):
    FOLDERS = ("/adds", "/seq")

    def adds(self):
        return [Add(0, "/adds/a", b"a", outcome=DONE, created="/adds/a"), Add(0, "/adds/b", b"b"),
                Add(1, "/seq/n-", b"c", True, DONE, "/seq/n-0000000000"), Add(1, "/seq/n-", b"d", True),
                Add(1, "/adds/e", b"e", outcome=DONE, created="/adds/e", removal=DONE)]

    def tree(self):
        return {"/adds": (b"", stat()), "/adds/a": (b"a", stat(5)), "/seq/n-0000000000": (b"c", stat(6)),
                "/seq/n-0000000001": (b"d", stat(7))}

    def bad(self, change, adds=None):
        tree = self.tree()
        change(tree)
        self.assertTrue(add_complaints(adds or self.adds(), tree, self.FOLDERS))

    def test_good(self):
        self.assertEqual(add_complaints(self.adds(), self.tree(), self.FOLDERS), [])
        with_unknown = self.tree() | {"/adds/b": (b"b", stat(8))}
        self.assertEqual(add_complaints(self.adds(), with_unknown, self.FOLDERS), [])

    def test_lost(self):
        self.bad(lambda tree: tree.pop("/adds/a"))
        self.bad(lambda tree: tree.pop("/seq/n-0000000000"))

    def test_back_from_the_dead(self):
        self.bad(lambda tree: tree.update({"/adds/e": (b"e", stat(8))}))

    def test_from_nowhere(self):
        self.bad(lambda tree: tree.update({"/adds/x": (b"x", stat(8))}))

    def test_refused_and_there(self):
        self.bad(lambda tree: tree.update({"/adds/b": (b"b", stat(8))}),
                 [*self.adds()[:1], Add(0, "/adds/b", b"b", outcome=REFUSED), *self.adds()[2:]])

    def test_other_data(self):
        self.bad(lambda tree: tree.update({"/adds/a": (b"c", stat(5))}))

    def test_created_twice(self):
        self.bad(lambda tree: tree.update({"/seq/n-0000000002": (b"d", stat(8))}))

    def test_numbers_against_the_order(self):
        self.bad(lambda tree: tree.update({"/seq/n-0000000001": (b"d", stat(3))}))

    def test_number_given_twice(self):
        twice = [*self.adds(), Add(2, "/seq/n-", b"f", True, DONE, "/seq/n-0000000000")]
        self.assertTrue(add_complaints(twice, self.tree(), self.FOLDERS))

    def test_ephemerals(self):
        known = [Ephemeral(7, "/eph/7", DONE), Ephemeral(8, "/eph/8", DONE, session_lives=False), Ephemeral(9, "/eph/9")]
        good = {"/eph/7": (b"", stat(owner=7))}
        self.assertEqual(ephemeral_complaints(known, good, "/eph"), [])
        self.assertEqual(ephemeral_complaints(known, good | {"/eph/9": (b"", stat(owner=9))}, "/eph"), [])
        self.assertTrue(ephemeral_complaints(known, {}, "/eph"))
        self.assertTrue(ephemeral_complaints(known, {"/eph/7": (b"", stat(owner=8))}, "/eph"))
        self.assertTrue(ephemeral_complaints(known, good | {"/eph/8": (b"", stat(owner=8))}, "/eph"))
        self.assertTrue(ephemeral_complaints(known, good | {"/eph/1": (b"", stat(owner=7))}, "/eph"))

    def test_pairs(self):
        pair = Pair(("/p/a", "/p/b"), acknowledged=3, tried=5)

        def judge_pair(one, other):
            return pair_complaints([pair], {"/p/a": (one, stat()), "/p/b": (other, stat())})
        self.assertEqual(judge_pair(b"4", b"4"), [])
        self.assertTrue(judge_pair(b"4", b"5"))
        self.assertTrue(judge_pair(b"2", b"2"))
        self.assertTrue(judge_pair(b"6", b"6"))


if __name__ == "__main__":
    unittest.main()
