#include "broker/job_text.h"

#include <gtest/gtest.h>

namespace whippletree {
namespace {

wire::DeadReply Dead() {
  wire::DeadReply reply;
  wire::DeadJob* job = reply.add_jobs();
  *job->mutable_id() = *ParseJobId("3-17");
  job->set_queue("mail");
  job->set_died_at_ms(1'700'000'000'123);
  job->set_attempts(2);
  job->mutable_status()->set_code(14);
  job->mutable_status()->set_message("it\nfailed");
  job->set_worker("w");
  job->set_payload_bytes(4);
  return reply;
}

TEST(JobTextTest, IdsAreStreamAndNumber) {
  EXPECT_EQ(ParseJobId("3-17")->stream(), 3u);
  EXPECT_EQ(ParseJobId("3-17")->number(), 17u);
  for (const char* bad :
       {"", "3", "3-", "-17", "0-1", "1-0", "3-17-1", "a-b", "99999999999999999999-1"}) {
    EXPECT_FALSE(ParseJobId(bad).ok()) << bad;
  }
  EXPECT_EQ(ParseJobId("x").status().message(), "\"x\" is no job id: expected one such as 3-17");
}

TEST(JobTextTest, AListHasALineForEachDeadJob) {
  EXPECT_EQ(DeadText(Dead()),
            "ID    QUEUE  DIED                      ATTEMPTS  BYTES  WORKER  ERROR\n"
            "3-17  mail   2023-11-14T22:13:20.123Z         2      4  w       UNAVAILABLE: "
            "it\\nfailed\n");
}

TEST(JobTextTest, ADeadJobIsShownWithItsHistory) {
  wire::DeadJob job = Dead().jobs(0);
  job.set_payload(
      "\xff"
      "abc");
  wire::Attempt* attempt = job.add_history();
  attempt->set_worker("w");
  attempt->set_at_ms(1'700'000'000'000);
  *attempt->mutable_status() = job.status();
  EXPECT_EQ(DeadJobText(job),
            "job 3-17 of queue mail is dead\n"
            "  died        2023-11-14T22:13:20.123Z, after 2 attempts\n"
            "  failed      2023-11-14T22:13:20.000Z on w: UNAVAILABLE: it\\nfailed\n"
            "  payload     4 bytes: \"\\xffabc\"\n");
}

TEST(JobTextTest, JsonHasThePayloadWhereItIsKnown) {
  wire::DeadReply reply = Dead();
  EXPECT_EQ(DeadJson(reply),
            "{\"id\":\"3-17\",\"queue\":\"mail\",\"died_at\":\"2023-11-14T22:13:20.123Z\","
            "\"attempts\":2,\"status\":\"UNAVAILABLE\",\"error\":\"it\\nfailed\",\"worker\":\"w\","
            "\"payload_bytes\":4}\n");
  reply.mutable_jobs(0)->set_payload(
      "\xff"
      "abc");
  EXPECT_NE(DeadJson(reply).find("\"payload_base64\":\"/2FiYw==\""), std::string::npos);
}

TEST(JobTextTest, AJobIsShownInItsState) {
  wire::JobState job;
  *job.mutable_id() = *ParseJobId("1-2");
  job.set_count(1);
  job.set_queue("q");
  job.set_state("leased");
  job.set_worker("w");
  job.set_attempts(1);
  job.set_cancelling(true);
  EXPECT_EQ(JobText(job),
            "job 1-2 of queue q is leased, held by w, to be cancelled\n"
            "  attempts    1\n");
  wire::JobState far;
  *far.mutable_id() = *ParseJobId("1-3");
  far.set_queue("q");
  far.set_state("waiting");
  far.set_producer("p");
  far.set_far(true);
  EXPECT_EQ(
      JobText(far),
      "job 1-3 of queue q is waiting, behind more than the broker looks through (no attempts, "
      "key or payload are told of it)\n"
      "  producer    p\n");
  wire::JobsReply reply;
  *reply.add_jobs() = far;
  EXPECT_NE(JobsJson(reply).find("\"far\":true"), std::string::npos);
  EXPECT_EQ(JobsJson(reply).find("attempts"), std::string::npos);
  reply.clear_jobs();
  *reply.add_jobs() = job;
  reply.mutable_jobs(0)->set_count(3);
  EXPECT_EQ(JobsText(reply),
            "ID      JOBS  STATE   ATTEMPTS  BYTES  WORKER  PRODUCER  KEY\n"
            "1-2..4     3  leased         1      0  w       -         -\n");
  EXPECT_NE(JobsJson(reply).find("\"started\":false,\"cancelling\":true"), std::string::npos);
}

}  // namespace
}  // namespace whippletree
