/* SPDX-License-Identifier: MIT
 *
 * Uses keeper.cc.
 */
int keeper_count(void);

int main(void)
{
    return keeper_count() - 100;
}
